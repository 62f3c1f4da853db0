// Package packet makes the packets that the load generator sends and judges those that come out:
// they look like WireGuard data or disco to a relay, and say which packet of which pair they are
// and when they were due.
//
// It knows bytes only: no frame, no connection, no clock. All is pure functions that any goroutine
// may call; nothing allocates if the given slice has room.
//
// # WireGuard data
//
//	 0  4  type 4, little endian
//	 4  4  receiver index: the pair, little endian
//	 8  8  counter: the number in the pair, little endian
//	16  8  due, ns, little endian
//	24  4  check over pair, number, due and size, little endian
//	28     filler
//
// # Disco
//
//	 0  6  magic
//	 6 32  key of the sender, which follows from the pair
//	38 24  nonce: pair 4, number 8, due 8, check 4, as above
//	62     filler
//
// The filler stands for encrypted bytes. It follows from pair and number alone and begins with a
// 64-bit mix of both, so that no two packets of a run have the same; what follows is a stretch of a
// fixed random table, which costs no more than copying or comparing it. The check and the filler
// reveal damage and mix-ups, not malice.
package packet
