package engine

import (
	"errors"
	"fmt"
	"net/netip"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
	"derpd/loadgen/packet"
	"derpd/relay/derp"
)

// layout is who is who: fixed by a job.
type layout struct {
	job     loadgen.Job
	sources []netip.Addr // empty: the kernel's choice
	clients []place      // by client
	flows   []flow
	idle    int // clients without a group are the first ones
}

// place is where a client is.
type place struct {
	target int16
	group  int16 // -1: idle
	source int32 // index in sources
	reader bool  // a receiver of its group
}

// flow is one direction between two clients.
type flow struct {
	group    int16
	back     bool // from a receiver to a sender of the group
	index    int32
	of       int32 // senders of the group in this direction
	from, to int32 // clients
}

// newLayout checks a job and places its clients.
func newLayout(job loadgen.Job) (*layout, error) {
	if len(job.Targets) == 0 {
		return nil, errors.New("loadgen: no relay to load: name at least one address")
	}
	if job.Workload.Clients() == 0 && job.Workload.STUN == nil {
		return nil, fmt.Errorf("loadgen: workload %q has no clients", job.Workload.Name)
	}
	l := &layout{job: job, idle: job.Workload.Idle}
	for i := range l.idle {
		l.place(-1, i, false)
	}
	for g := range job.Workload.Groups {
		if err := l.addGroup(g); err != nil {
			return nil, err
		}
	}
	if err := l.chooseSources(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *layout) place(group, number int, reader bool) int32 {
	l.clients = append(l.clients, place{target: int16(number % len(l.job.Targets)),
		group: int16(group), reader: reader})
	return int32(len(l.clients) - 1)
}

func (l *layout) addGroup(index int) error {
	g := &l.job.Workload.Groups[index]
	if err := checkGroup(g); err != nil {
		return err
	}
	shift := 0
	if g.AcrossNodes {
		shift = 1
	}
	readers := make([]int32, g.Receivers)
	for r := range readers {
		readers[r] = l.place(index, r+shift, true)
	}
	for s := range g.Senders {
		from, to := l.place(index, s%g.Receivers, false), readers[s%g.Receivers]
		l.flows = append(l.flows, flow{group: int16(index), index: int32(s), of: int32(g.Senders),
			from: from, to: to})
		if g.BothWays {
			l.flows = append(l.flows, flow{group: int16(index), index: int32(s),
				of: int32(g.Senders), from: to, to: from, back: true})
		}
	}
	return nil
}

// checkGroup refuses what cannot be sent.
func checkGroup(g *loadgen.Group) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("loadgen: group %q: %s", g.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case g.Senders < 1 || g.Receivers < 1 || g.Receivers > g.Senders:
		return wrong("%d senders and %d receivers: there must be one of each, and no receiver "+
			"without a sender", g.Senders, g.Receivers)
	case g.FramesPerWrite < 1 || g.FramesPerWrite > framesPerWriteMax:
		return wrong("%d frames a write: choose 1 to %d", g.FramesPerWrite, framesPerWriteMax)
	case g.Share < 0 || g.Rate < 0:
		return wrong("share %v, rate %v: neither may be negative", g.Share, g.Rate)
	case g.Apart < 0:
		return wrong("packets %v apart: that may not be negative", g.Apart)
	case g.Patience < 0:
		return wrong("a patience of %v: that may not be negative", g.Patience)
	case g.Share > 0 && g.Rate > 0:
		return wrong("share %v and rate %v: one of them must be 0", g.Share, g.Rate)
	case len(g.Sizes) == 0:
		return wrong("it has no packet sizes")
	}
	for _, s := range g.Sizes {
		least := packet.MinBytes
		if s.Disco {
			least = packet.MinDiscoBytes
		}
		if s.Bytes < least || s.Bytes > derp.MaxPacket || s.Weight <= 0 {
			return wrong("packets of %d bytes with weight %v: choose %d to %d bytes and a weight "+
				"above 0", s.Bytes, s.Weight, least, derp.MaxPacket)
		}
	}
	if !g.FullSpeed() {
		return arrival.Check(g.Arrival)
	}
	return nil
}

// framesPerWriteMax times the largest packet is what a sender may have to hold for one write.
const framesPerWriteMax = 64

// chooseSources spreads the clients over local addresses, so that no source and destination share
// more than clientsPerTupleMax connections.
func (l *layout) chooseSources() error {
	for _, s := range l.job.Options.Sources {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("loadgen: source %q is no address", s)
		}
		l.sources = append(l.sources, a)
	}
	most := 0
	perTarget := make([]int, len(l.job.Targets))
	for i := range l.clients {
		c := &l.clients[i]
		c.source = int32(perTarget[c.target])
		perTarget[c.target]++
		most = max(most, perTarget[c.target])
	}
	need := (most + clientsPerTupleMax - 1) / clientsPerTupleMax
	if len(l.sources) == 0 && l.job.Targets[0].Addr.Addr().Is4() &&
		l.job.Targets[0].Addr.Addr().IsLoopback() {
		l.sources = loopbackSources(max(need, 1), l.job.Options.Part)
	}
	switch {
	case need > max(len(l.sources), 1):
		return fmt.Errorf("loadgen: %d clients of one relay need %d source addresses with %d ports "+
			"each, there are %d: name more of this machine's with -sources", most, need,
			clientsPerTupleMax, max(len(l.sources), 1))
	case len(l.sources) == 0:
		for i := range l.clients {
			l.clients[i].source = -1
		}
	default:
		for i := range l.clients {
			l.clients[i].source %= int32(len(l.sources))
		}
	}
	return nil
}

// loopbackSources are 127.64.0.1 and on; each process of a fleet has a range of its own.
func loopbackSources(n, part int) (all []netip.Addr) {
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{127, byte(64 + part&63), byte(i / 250),
			byte(1 + i%250)}))
	}
	return all
}
