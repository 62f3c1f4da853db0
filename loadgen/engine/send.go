package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
)

// sender is what a client sends: its streams, and the writes that are sealed and wait for their
// time. Writes leave in the order they were sealed in, as the sequence numbers of TLS demand.
type sender struct {
	c        *client
	streams  []stream
	due      int64 // of the next write
	pos      int   // in the heap of the loop, -1: not there
	room     int   // bytes that may be sealed ahead
	cur      batch // being sent
	next     batch // being filled
	blocked  bool  // TCP holds it back
	filling  bool  // on the list of those that may be sealed for ahead
	full     bool  // one of its streams is at full speed: it is in floods instead of the heap
	flooding bool  // it is there
	heldTo   int64 // writes due before this were held back: their lag is not ours
	rng      rand.PCG
}

// stream is one flow at its sender.
type stream struct {
	flow   int32
	group  int16
	full   bool // as fast as TCP takes it
	source arrival.Source
	seq    [2]uint64 // last number given out, by class: data, disco
	sent   uint64    // packets, in this step
	cut    bool      // the connection ended in this step
}

// batch is a run of sealed writes.
type batch struct {
	buf    []byte
	writes []write
	done   int // writes given to the kernel
}

// write is what goes into one system call.
type write struct {
	start, end int32
	due        int64 // 0: whenever it may be, sealed ahead at full speed
	bytes      int32 // of packets
	packets    uint16
	stream     uint16
	records    uint16
	final      bool // begins with a KeyUpdate, behind which nothing can be taken back
}

func (b *batch) left() bool { return b.done < len(b.writes) }

func (b *batch) reset() {
	b.buf, b.writes, b.done = b.buf[:0], b.writes[:0], 0
}

// empty tells whether no sealed write waits.
func (s *sender) empty() bool { return !s.cur.left() && !s.next.left() }

// ahead returns the next sealed write, nil if there is none. It must not be called while the kernel
// has a part of the last one, whose buffer may be taken for the next batch.
func (l *loop) ahead(s *sender) *write {
	if !s.cur.left() {
		s.cur.reset()
		if !s.next.left() {
			return nil
		}
		s.cur, s.next = s.next, s.cur
		if !s.filling {
			s.filling = true
			l.filling = append(l.filling, s)
		}
	}
	return &s.cur.writes[s.cur.done]
}

// earliest is the stream whose packet is due next, and when; math.MaxInt64: none any more. At full
// speed a packet is due now.
func (s *sender) earliest(r *run, now int64) (st *stream, due int64) {
	due = math.MaxInt64
	for i := range s.streams {
		at := s.streams[i].due(r, now)
		if at < due {
			st, due = &s.streams[i], at
		}
	}
	return st, due
}

func (st *stream) due(r *run, now int64) int64 {
	if st.full {
		if at := max(now, r.start); at < r.until {
			return at
		}
		return math.MaxInt64
	}
	if at := st.source.Due(); at < r.until-r.start {
		return r.start + at
	}
	return math.MaxInt64
}

// pump sends what is due, a few writes of each sender at a time. Senders at full speed wait for a
// turn in which no receiver is behind: what a generator sends instead of reading, the relay would
// have to drop.
func (l *loop) pump(now int64) {
	for n := 0; n < sendersPerTurn && len(l.due) > 0 && l.due[0].due <= now; n++ {
		s := l.due.pop()
		l.active = true
		l.push(s, now)
	}
	if l.behind {
		l.behind = false
		return
	}
	l.flooding, l.floods = l.floods, l.flooding[:0]
	for i, s := range l.flooding {
		l.flooding[i] = nil
		if s.flooding { // or its connection ended
			s.flooding = false
			l.active = true
			l.push(s, now)
		}
	}
}

// later lets a sender go on at s.due.
func (l *loop) later(s *sender) {
	switch {
	case !s.full:
		l.due.push(s)
	case !s.flooding:
		s.flooding = true
		l.floods = append(l.floods, s)
	}
}

// push writes what one sender has, as far as the kernel takes it and its turn allows.
func (l *loop) push(s *sender, now int64) {
	for range l.turnWrites(s) {
		if s.c.sending {
			l.block(s)
			return
		}
		w := l.ahead(s)
		if w == nil {
			if len(s.c.ctl) > 0 {
				l.flushControl(s.c)
				continue
			}
			st, due := l.timely(s, now)
			if st == nil || l.run.settled {
				return // the step has no more for it
			}
			if due > now {
				s.due = due
				l.later(s)
				return
			}
			l.seal(s, &s.cur, st, due)
			w = &s.cur.writes[0]
		}
		if w.due > now {
			s.due = w.due
			l.later(s)
			return
		}
		if w.due == 0 && now >= l.run.until {
			return // full speed ends with the window
		}
		if l.keptApart(s, w, now) {
			return
		}
		b := s.cur.buf[w.start:w.end]
		s.cur.done++
		l.countSent(s, w, now)
		if !l.poll.Send(s.c.h, b) {
			s.c.sending = true
			l.block(s)
			return
		}
	}
	s.due = now
	l.later(s)
}

// impatient tells whether a sender drops what TCP holds back.
func (l *loop) impatient(s *sender) bool {
	return slices.ContainsFunc(s.streams, func(st stream) bool {
		return l.e.job.Workload.Groups[st.group].Patience > 0
	})
}

// timely is earliest, after what TCP has held back for longer than its group's patience was
// dropped.
func (l *loop) timely(s *sender, now int64) (st *stream, due int64) {
	for {
		st, due = s.earliest(l.run, now)
		if st == nil || st.full || due >= s.heldTo { // whatever it waits for, it is not TCP
			return st, due
		}
		g := &l.e.job.Workload.Groups[st.group]
		if g.Patience == 0 || now-due <= int64(g.Patience) {
			return st, due
		}
		l.notAccepted(st, due, uint64(g.FramesPerWrite))
		st.source.Advance()
	}
}

// keptApart lets a write wait, if its group wants packets apart, until the one before has arrived.
func (l *loop) keptApart(s *sender, w *write, now int64) bool {
	if l.e.arrived == nil {
		return false
	}
	st := &s.streams[w.stream]
	gap := l.e.job.Workload.Groups[st.group].Apart
	if gap == 0 || st.sent == 0 {
		return false
	}
	a := &l.e.arrived[st.flow]
	wait := int64(gap) - (now - a.at.Load())
	if a.packets.Load() == st.sent && wait <= 0 {
		return false
	}
	s.heldTo = now
	s.due = now + max(wait, int64(lookAgain))
	l.later(s)
	return true
}

func (l *loop) turnWrites(s *sender) int {
	if s.full {
		return floodWritesPerTurn
	}
	return writesPerTurn
}

func (l *loop) block(s *sender) {
	s.blocked = true
	l.blocked++
}

// freed goes on with a client whose bytes the kernel has taken.
func (l *loop) freed(c *client) {
	if s := c.out; s != nil && s.blocked {
		s.blocked = false
		l.blocked--
		if l.run != nil && !l.run.settled {
			s.heldTo = l.poll.Now()
			s.due = s.heldTo
			l.later(s)
			return
		}
	}
	if c.out == nil || c.out.empty() {
		l.flushControl(c)
	}
}

// countSent books a write.
func (l *loop) countSent(s *sender, w *write, now int64) {
	r := l.run
	st := &s.streams[w.stream]
	t := &l.groups[st.group]
	n := uint64(w.packets)
	t.sent += n
	t.due += n
	st.sent += n
	inWindow := now >= r.from && now < r.until
	if inWindow {
		t.winSent += n
		t.winSentBytes += uint64(w.bytes)
	}
	switch {
	case w.due == 0: // full speed: due when it is sent
		if inWindow {
			t.winDue += n
		}
	case w.due >= r.from && w.due < r.until:
		t.winDue += n
		if w.due >= s.heldTo && !st.full {
			l.lag.Record(time.Duration(now - w.due))
		}
	}
}

// startSender begins the part of a step that is a client's: when it has logged in.
func (l *loop) startSender(s *sender) {
	if s.pos >= 0 || s.blocked || s.flooding {
		return
	}
	for i := range s.streams { // after a while without a connection
		st := &s.streams[i]
		g := &l.e.job.Workload.Groups[st.group]
		for st.cut && !st.full {
			due := st.due(l.run, 0)
			if due >= l.poll.Now() {
				break
			}
			l.notAccepted(st, due, uint64(g.FramesPerWrite))
			st.source.Advance()
		}
	}
	_, due := s.earliest(l.run, l.poll.Now())
	if s.next.left() {
		due = min(due, max(s.next.writes[0].due, l.run.start))
	}
	if due == math.MaxInt64 {
		return
	}
	s.due = due
	l.later(s)
}

// cut forgets what a client whose connection has ended had sealed: those packets were due, or will
// have been, and nobody took them.
func (l *loop) cut(s *sender) {
	l.unschedule(s)
	if s.blocked {
		s.blocked = false
		l.blocked--
	}
	l.refuse(s)
	for i := range s.streams { // what was on its way may have gone down with the connection
		s.streams[i].cut = true
	}
}

// unschedule takes a sender from where it waits for its turn.
func (l *loop) unschedule(s *sender) {
	s.flooding = false
	if s.pos >= 0 {
		l.due.remove(s.pos)
	}
}

// refuse books the writes that were sealed and not sent, and throws them away. It returns how many
// records those were, and whether they can be taken back.
func (l *loop) refuse(s *sender) (records int, final bool) {
	for _, b := range []*batch{&s.cur, &s.next} {
		for i := b.done; i < len(b.writes); i++ {
			w := &b.writes[i]
			records += int(w.records)
			final = final || w.final
			if l.run != nil && w.due != 0 && w.due < l.run.until {
				l.notAccepted(&s.streams[w.stream], w.due, uint64(w.packets))
			}
		}
		b.reset()
	}
	return records, final
}

// notAccepted books packets that were due and for which TCP had no room.
func (l *loop) notAccepted(st *stream, due int64, packets uint64) {
	t := &l.groups[st.group]
	t.due += packets
	t.notAccepted += packets
	if due >= l.run.from && due < l.run.until {
		t.winDue += packets
	}
}

// settle ends the sending of a step: what is still due was not accepted.
func (l *loop) settle(s *sender) {
	l.unschedule(s)
	records, final := l.refuse(s)
	switch {
	case records == 0 || s.c.tls.Version() == 0:
	case final: // once in millions of records
		s.c.leaves = true
		l.poll.Reset(s.c.h)
	default:
		s.c.tls.Unseal(uint64(records))
	}
	for i := range s.streams {
		st := &s.streams[i]
		g := &l.e.job.Workload.Groups[st.group]
		for !st.full {
			due := st.due(l.run, 0)
			if due == math.MaxInt64 {
				break
			}
			l.notAccepted(st, due, uint64(g.FramesPerWrite))
			st.source.Advance()
		}
	}
}

// senders is a heap of senders by due time.
type senders []*sender

func (h *senders) push(s *sender) {
	*h = append(*h, s)
	h.up(len(*h) - 1)
}

func (h *senders) pop() *sender { return h.remove(0) }

func (h *senders) remove(i int) *sender {
	q := *h
	s := q[i]
	last := len(q) - 1
	q[i] = q[last]
	q[i].pos = i
	q[last] = nil
	*h = q[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
	s.pos = -1
	return s
}

func (h senders) up(i int) {
	s := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].due <= s.due {
			break
		}
		h[i] = h[parent]
		h[i].pos = i
		i = parent
	}
	h[i], s.pos = s, i
}

func (h senders) down(i int) {
	s := h[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].due < h[child].due {
			child++
		}
		if h[child].due >= s.due {
			break
		}
		h[i] = h[child]
		h[i].pos = i
		i = child
	}
	h[i], s.pos = s, i
}

// nanos is a time of that many seconds.
func nanos(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// perSender is what one sender of a group owes a second, in writes.
func perSender(g *loadgen.Group, step *loadgen.Step) float64 {
	flows := g.Senders
	if g.BothWays {
		flows *= 2
	}
	return g.PerSecond(step) / float64(flows) / float64(g.FramesPerWrite)
}
