package reference

import (
	"time"

	"derpd/loadgen"
	"derpd/relay/derp"
)

// Options say what the server does. The zero Options are a good server on plain TCP that delivers
// at once.
//
// Every n-th counts the packets that the server received, from all clients together, from 1; 0 is
// never. Of a packet to which several apply, a drop comes first.
type Options struct {
	TLS   bool
	Key   derp.PrivateKey // zero: a new one
	Delay time.Duration   // from when the kernel had a packet until the kernel gets it back

	DropEvery int     // every n-th packet is dropped …
	DropShare float64 // … or each with this probability, drawn from Seed
	Seed      uint64

	CorruptEvery   int // one bit of it is changed
	DuplicateEvery int // it is delivered twice
	MisdirectEvery int // it is delivered to another client
	ReorderEvery   int // it is delivered behind the next of its sender and receiver

	// NoFastStart leaves the server's key out of the TLS certificates and answers each upgrade with
	// status 101, even if the client asked for none.
	NoFastStart bool
	KeepAlive   time.Duration // between KeepAlive frames; 0: none

	NoPongs     bool // Pings are not answered
	RefuseEvery int  // every n-th login is closed unanswered
	Status      int  // 400 to 599: an upgrade is answered with this HTTP status
	Garbage     bool // an upgrade is answered with 101 and then bytes that are not DERP
}

// Stats are exact counts since the start; while packets come and go they are of slightly
// different moments.
type Stats struct {
	Logins   uint64 // that succeeded
	Clients  int    // logged in now
	Received uint64 // packets from clients
	// Delivered packets were given to the receiver's kernel, or wait for room in it; duplicates
	// count again. Received = Delivered - Duplicated + dropped + Waiting.
	Delivered uint64
	Dropped   map[string]uint64 // by reason, as in the metrics
	Waiting   int               // not due yet

	Corrupted, Duplicated, Misdirected, Reordered uint64

	// Late is how far behind their due time packets were delivered, stalls apart: what the server
	// adds to the delay.
	Late *loadgen.Hist
}

// The reasons of drops, as derper names them.
const (
	dropQueue   = "queue_head"        // on purpose, or because the receiver does not read
	dropUnknown = "unknown_dest"      // the receiver is not there
	dropGone    = "gone_disconnected" // it left while the packet waited
)
