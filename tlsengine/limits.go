package tlsengine

const (
	// MaxPlaintext is the most bytes of application data one record carries (RFC 8446 5.1).
	MaxPlaintext = 1 << 14

	// maxExpansionBytes is what encryption may add to a record: the content type, padding and tag of
	// TLS 1.3 (RFC 8446 5.2). TLS 1.2 allows 2048, but its AEAD suites add 24 at most, so a longer
	// record could only hold too much plaintext and is refused by its header alone.
	maxExpansionBytes = 256

	// MaxRecord is the length in bytes, header included, of the longest record [RecordLen] accepts.
	MaxRecord = recordHeaderLen + MaxPlaintext + maxExpansionBytes

	// handshakeRecordBytesMax is the longest record body crypto/tls reads in a handshake (the
	// TLS 1.2 limit, since the version is not known at first). What claims to be longer is passed
	// on at once, so that crypto/tls refuses it with the right alert.
	handshakeRecordBytesMax = 1<<14 + 2048

	// idleRecordsMax is how many records in a row may carry no application data. 16 is the figure of
	// crypto/tls; OpenSSL has 32. It bounds the work a peer gets out of us for nothing.
	idleRecordsMax = 16

	// A KeyUpdate is paid for with recordsPerKeyUpdate records that the key it replaces has opened,
	// and unpaidKeyUpdatesMax may come on credit. It costs us three HKDF expansions and a new
	// cipher, 4 µs, for 27 bytes, which idleRecordsMax alone does not bound: one byte of data
	// between them would do. No honest peer runs out of credit: TLS libraries change keys after
	// millions of records.
	recordsPerKeyUpdate = 16
	unpaidKeyUpdatesMax = 64

	// handshakeMessageBytesMax bounds a post-handshake message that is skipped (a session ticket).
	// 64 KiB is the figure of crypto/tls.
	handshakeMessageBytesMax = 1 << 16

	// serverInputBytesMax bounds what a client may send in one handshake when it is not asked for
	// a certificate: two ClientHellos (one retry) with post-quantum shares are under 8 KiB. It
	// bounds the memory of a handshake too: crypto/tls by itself collects a ClientHello of 64 KiB,
	// three times what a handshake takes otherwise.
	serverInputBytesMax = 20 << 10

	// certInputBytesMax is the same where the peer sends certificates, which crypto/tls lets grow
	// to 256 KiB.
	certInputBytesMax = 384 << 10

	// keptBufferBytesMax is the largest input or output buffer a handshaker keeps for its next
	// handshake. A server flight with a chain of three certificates is 5 to 8 KiB.
	keptBufferBytesMax = 16 << 10

	// stackBytes is the frame that makes a stack one of 16 KiB, which a server's handshake comes to
	// with post-quantum key exchange.
	stackBytes = 14 << 10

	// sequenceMax is where a direction ends. A sequence number must never wrap (RFC 8446 5.3);
	// no connection sends 2^62 records, so only a broken import comes here.
	sequenceMax = 1 << 62
)

// rekeyRecords is how many records are sealed, or opened, with one key of TLS 1.3 before a
// KeyUpdate is sent. AES-GCM is good for 2^24.5 full records (RFC 8446 5.5); 2^23 leaves a peer
// that answers late room to do so. A variable only so that tests need not seal eight million
// records.
var rekeyRecords uint64 = 1 << 23
