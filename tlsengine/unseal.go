package tlsengine

// Unseal takes back the last n records that were sealed and never left: the sequence number goes
// back, and the caller throws the records away. It is for a load generator, which seals ahead of
// time and may stop before all of it is due. Sending any of those records, or having sent them,
// would use a nonce twice, which gives the keys of AES-GCM away: nothing that relays packets of
// others may call it. It must not reach behind a KeyUpdate of ours. It panics if fewer than n
// records were sealed with the present keys.
func (s *Session) Unseal(n uint64) {
	if n > s.seal.seq {
		panic("tlsengine: Unseal of more records than were sealed with these keys")
	}
	s.seal.seq -= n
}
