package engine

import (
	"bytes"
	"crypto/tls"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/packet"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// nowhere is an event loop that takes what it is sent, and does nothing else.
type nowhere struct {
	netpoll.Runner
	sent []byte
}

func (n *nowhere) Send(_ netpoll.Handle, b []byte) bool                { n.sent = append(n.sent, b...); return true }
func (n *nowhere) Reset(netpoll.Handle)                                {}
func (n *nowhere) Close(netpoll.Handle)                                {}
func (n *nowhere) SetTimeout(netpoll.Handle, time.Duration)            {}
func (n *nowhere) Post(func()) bool                                    { return true }
func (n *nowhere) Leave(func()) bool                                   { return true }
func (n *nowhere) Connect(_, _ netip.AddrPort) (netpoll.Handle, error) { return 0, netpoll.ErrStopped }

// stage is what a stream is when a client begins to hear it.
type stage byte

const (
	stageUpgrade   stage = iota // the answer to its request, without TLS
	stageLogin                  // the answer to its login
	stageOpen                   // packets, without TLS
	stageWebSocket              // packets in WebSocket messages
	stageTLS                    // packets in records that are opened
	stageSkimmed                // packets in records of which only the heads are
	stages
)

// hearer is a client, the second of two, that hears a stream.
type hearer struct {
	t     *testing.T
	l     *loop
	c     *client
	poll  *nowhere
	relay *tlsengine.Session // nil without TLS
}

var fuzzPrivate = func() (keys [2]derp.PrivateKey) {
	for i := range keys {
		k, err := derp.NewPrivateKey(bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 32)))
		if err != nil {
			panic(err)
		}
		keys[i] = k
	}
	return keys
}()

func newHearer(t *testing.T, at stage) *hearer {
	h := &hearer{t: t, poll: new(nowhere)}
	e := &Engine{flows: []flow{{from: 0, to: 1}}, clients: make([]client, 2),
		clientsAt: make([]place, 2), keys: []derp.Key{fuzzPrivate[0].Public(), fuzzPrivate[1].Public()},
		receiving: make([]receiving, 1), incoming: map[int32][]int32{1: {0}},
		workers: &workers{jobs: make(chan func(), 1)}}
	e.job.Targets = []loadgen.Target{{Host: "relay.test", Plain: true}}
	e.job.Workload.Groups = make([]loadgen.Group, 1)
	h.l = &loop{e: e, poll: h.poll, own: []int32{1}, at: []int32{2}, logins: 1,
		sample: math.MaxInt, // nothing is compared whole: that depends on how it comes
		run:    &run{number: 3, until: math.MaxInt64},
		counts: counts{login: loadgen.NewHist(), lag: loadgen.NewHist(), recent: loadgen.NewHist(),
			groups: []tally{{latency: loadgen.NewHist()}}}}
	h.c = &e.clients[1]
	h.c.index, h.c.h = 1, netpoll.MakeHandle(0, 0, 5)
	h.c.phase, h.c.upgraded = phaseOpen, true
	switch at {
	case stageUpgrade:
		h.c.phase, h.c.upgraded = phaseUpgrade, false
	case stageLogin:
		shared, err := fuzzPrivate[1].Shared(fuzzPrivate[0].Public())
		if err != nil {
			t.Fatal(err)
		}
		h.c.phase, h.c.login = phaseLogin, &shared
	case stageWebSocket:
		h.c.ws = &websock.Reader{Client: true}
	case stageTLS, stageSkimmed:
		ours, theirs, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256,
			bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		h.c.tls, h.relay = ours, &theirs
		if at == stageSkimmed {
			k, ok := h.c.tls.Skimmer()
			if !ok {
				t.Fatal("no skimmer")
			}
			h.c.skim = &k
		}
	}
	return h
}

// wire is the stream as it comes: in records, if there is TLS.
func (h *hearer) wire(stream []byte) (out []byte) {
	if h.relay == nil {
		return stream
	}
	for part := range slices.Chunk(stream, 1500) {
		start := len(out)
		out = append(h.relay.SealStart(out), part...)
		out = h.relay.SealFinish(out, start)
	}
	return out
}

// hear lets the stream come in pieces of the lengths that next gives.
func (h *hearer) hear(stream []byte, next func() int) {
	for len(stream) > 0 {
		n := min(next(), len(stream))
		piece := bytes.Clone(stream[:n])
		stream = stream[n:]
		h.l.Received(h.c.h, piece)
		for i := range piece { // nothing of it may be needed any more
			piece[i] = 0xee
		}
		if int(h.c.headN) > headMax || h.c.skip < 0 || len(h.c.stash) > tlsengine.MaxRecord ||
			len(h.c.ctl) > httpHeadMax+n {
			h.t.Fatalf("%d bytes of a head, %d to skip, %d of a record and %d of an answer are kept",
				h.c.headN, h.c.skip, len(h.c.stash), len(h.c.ctl))
		}
	}
}

// story is what a client made of a stream.
type story struct {
	phase     phase
	leaves    bool
	skip      int32
	failures  string
	wrong     loadgen.Wrong
	stale     uint64
	delivered uint64
	last      [2]uint64
	timed     uint64
	sent      string
	logins    int
}

func (h *hearer) story() story {
	failures := ""
	for _, f := range h.l.failures {
		failures += f.Example + "\n"
	}
	s := story{phase: h.c.phase, leaves: h.c.leaves, skip: h.c.skip, failures: failures,
		wrong: h.l.wrong, stale: h.l.stale, delivered: h.l.e.receiving[0].delivered,
		last: h.l.e.receiving[0].last, timed: h.l.groups[0].delivered,
		sent: string(h.poll.sent), logins: len(h.l.e.workers.jobs)}
	return s
}

// FuzzInbound: what comes of any bytes does not depend on the pieces that they come in, nor does
// what is kept of them.
func FuzzInbound(f *testing.F) {
	stamp := packet.Stamp{Pair: 3, Seq: 1, Due: 12345}
	src := fuzzPrivate[0].Public()
	open := derp.AppendRecvPacket(nil, src, packet.Append(nil, stamp, 400))
	open = derp.AppendPing(derp.AppendKeepAlive(open), [8]byte{9})
	stamp.Seq, stamp.Disco = 1, true
	open = derp.AppendRecvPacket(open, src, packet.Append(nil, stamp, 200))
	open = append(derp.AppendHeader(open, 0x7f, 3000), make([]byte, 3000)...)
	stamp.Seq, stamp.Disco = 2, false
	open = derp.AppendRecvPacket(open, src, packet.Append(nil, stamp, 1400))
	open = derp.AppendPong(open, [8]byte{1})
	info := append(derp.AppendHeader(nil, derp.FrameServerInfo, 60), make([]byte, 60)...)
	upgrade := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n")
	upgrade = append(derp.AppendServerKey(upgrade, src), info...)
	f.Add(byte(stageUpgrade), upgrade, []byte{20, 3})
	f.Add(byte(stageUpgrade), []byte("HTTP/1.1 426 Upgrade Required\r\n\r\n"), []byte{9})
	f.Add(byte(stageLogin), slices.Concat(info, open), []byte{200})
	f.Add(byte(stageOpen), open, []byte{0, 7, 90})
	f.Add(byte(stageWebSocket), append(websock.AppendHeader(nil, len(open)), open...), []byte{30})
	f.Add(byte(stageTLS), open, []byte{1, 250})
	f.Add(byte(stageSkimmed), open, []byte{60})
	f.Fuzz(func(t *testing.T, at byte, stream, cuts []byte) {
		from := stage(at) % stages
		stream = stream[:min(len(stream), httpHeadMax)] // a longer answer need not end in time
		tell := func(next func() int) story {
			h := newHearer(t, from)
			h.hear(h.wire(stream), next)
			return h.story()
		}
		want := tell(func() int { return 1 << 20 })
		i := 0
		got := tell(func() int {
			n := 1
			if len(cuts) > 0 {
				n += int(cuts[i%len(cuts)])
				i++
			}
			return n
		})
		if from == stageLogin && got.phase == phaseOpen && want.leaves {
			return // an answer to the login that is torn, and long, is taken on trust
		}
		if got != want {
			t.Fatalf("in pieces %+v\nin one %+v", got, want)
		}
	})
}
