package engine

import (
	"crypto/sha256"
	"encoding/binary"

	"derpd/loadgen"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// phase is how far a client has come.
type phase uint8

const (
	phaseOut       phase = iota // not connected
	phaseDial                   // TCP
	phaseHandshake              // TLS
	phaseUpgrade                // HTTP, then DERP's greeting
	phaseLogin                  // the login was sent
	phaseOpen                   // logged in
	phaseGone                   // given up
)

// client is one simulated device. It is plain data but for what it holds only for a moment (shake,
// login, stash, head) or while it takes part in traffic (skim, out). It belongs to its loop.
type client struct {
	h        netpoll.Handle
	tls      tlsengine.Session
	began    int64 // of the login, by netpoll.Clock
	key      uint32
	index    int32
	skip     int32 // bytes of the present frame still to come
	phase    phase
	tries    uint8
	headN    uint8
	asked    bool
	leaves   bool // being closed, for a reason that is counted or wanted
	away     bool // counted as away during a cut
	upgraded bool // the answer to the upgrade is over, or will not come

	sending bool   // a Send is in flight
	ctl     []byte // plaintext of our own, to be sent when nothing else is under way
	out     *sender

	head  *[headMax]byte // beginning of a frame that is not whole yet
	stash []byte         // record, or HTTP head, that is not whole yet
	shake *shake
	login *derp.Shared
	ws    *websock.Reader
	skim  *tlsengine.Skimmer
	slow  *slowReader
}

// slowReader holds a receiver to a rate.
type slowReader struct {
	bytesPerSecond int
	never          bool
	waiting        bool // paused until a timeout
}

// privateKey is the key of a client: the same for the same seed, part, index and generation.
func (e *Engine) privateKey(index int32, generation uint32) (derp.PrivateKey, error) {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], e.opt.Seed)
	binary.BigEndian.PutUint32(b[8:], uint32(e.opt.Part))
	binary.BigEndian.PutUint32(b[12:], uint32(index))
	binary.BigEndian.PutUint32(b[16:], generation)
	sum := sha256.Sum256(b[:])
	return derp.NewPrivateKey(&once{sum[:]})
}

// once is an io.Reader of a few bytes.
type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	n := copy(p, o.b)
	o.b = o.b[n:]
	return n, nil
}

// fail counts a failure of a client.
func (l *loop) fail(class loadgen.Failure, example string) {
	l.failures.Add(class, 1, example)
}
