package netpoll

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
	"derpd/netpoll/pace"
)

// URing is a Loop on io_uring. It runs on a thread of its own. Received bytes lie in buffers that
// the kernel fills on its own account and gets back after Flush; a turn submits what it has asked
// for with the call that waits for what is next.
type URing struct {
	waker
	id           int
	maxConns     int
	receiveBytes int // a connection's share of a turn
	userTimeout  time.Duration
	slice        time.Duration
	keepAlive    time.Duration
	log          *slog.Logger
	handler      Handler
	shape        shape

	// The turn.
	now   int64
	spin  bool // never sleep
	owed  bool // a turn has to come without any completion
	brief bool // the last sleep was short, and ended by a completion: so may the next one be
	pace  pace.Pace

	// The connections.
	banks   []*bank // the first is the one that is waited on
	pages   []*[connsPerPage]uconn
	live    int // connections that Closed has not been delivered for
	ops     int // completions still to come, of all connections
	ended   []int32
	held    map[int32]*heldBytes
	resumed []int32 // slots that may have held bytes to be delivered
	sends   []passage
	idle    []int32 // free entries of sends
	asked   []int32 // slots whose Send has not been seen to complete or to block
	copies  copies
	wheel   *wheel

	heldTurns int // how long the first ring's requests have waited for a sleep

	receives int   // receives that the kernel has
	parkAt   int64 // when silent connections are looked for next
	parkNext int   // and after which slot

	listeners []uacceptor
	peers     []byte // mapped: the addresses of accepts in flight
	resting   int    // listeners that rest
	stats     Stats
}

var _ Loop = (*URing)(nil)

// shape is what tests choose in place of what the machine gives.
type shape struct {
	entries, completions uint32
	files                int // of a bank
	buffers              int // of a bank, a power of two
	bufferBytes          int
	features             uring.Features
}

// What a completion is about: the highest byte of its user data; below it slot and generation,
// as in a Handle.
const (
	kindNone     = iota // nothing that anybody waits for
	kindWake            // the eventfd was written
	kindAccept          //
	kindConnect         //
	kindReceive         //
	kindSend            //
	kindWatch           // a connection that nothing is received from is readable or has broken
	kindQueued          // the unacknowledged bytes at the beginning of a write timeout
	kindProgress        // the same at its end
	kindCall            // looked for at once by whoever made it
)

func userData(kind uint8, slot int32, generation uint32) uint64 {
	return uint64(MakeHandle(int(kind), int(slot), generation))
}

// ProbeURing tells in one sentence why loops on io_uring cannot be made here; nil if they can.
func ProbeURing() error {
	_, err := uring.Probe()
	return err
}

// NewURing makes a loop on io_uring; nothing happens before Run, which must follow (after Stop it
// frees what the loop holds and returns at once). id is its index among the loops of the process.
// ProbeURing explains errors better.
func NewURing(id int, cfg Config) (*URing, error) {
	if err := cfg.complete(id); err != nil {
		return nil, err
	}
	features, err := uring.Probe()
	if err != nil {
		return nil, fmt.Errorf("netpoll: loop %d: %w", id, err)
	}
	sh := shape{entries: uringEntries, completions: uringCompletions, features: features,
		files: filesPerBankMax, bufferBytes: bufferBytes}
	if !features.Incremental {
		sh.bufferBytes = bufferOnceBytes
	}
	sh.bufferBytes = min(sh.bufferBytes, cfg.ArenaBytes)
	sh.buffers = 1
	for 2*sh.buffers*sh.bufferBytes <= cfg.ArenaBytes {
		sh.buffers *= 2
	}
	return newURing(id, cfg, sh)
}

func newURing(id int, cfg Config, sh shape) (*URing, error) {
	l := &URing{
		id:           id,
		maxConns:     cfg.MaxConns,
		receiveBytes: cfg.ReceiveBytes,
		userTimeout:  cfg.UserTimeout,
		slice:        cfg.Slice,
		keepAlive:    cfg.KeepAlive,
		log:          cfg.Logger.With("loop", id),
		now:          monotonic(),
		held:         map[int32]*heldBytes{},
		pace:         pace.New(cfg.Gather),
	}
	l.wheel = newWheel(l.now)
	sh.files = min(sh.files, fileLimit(), cfg.MaxConns+len(cfg.Listeners)*acceptsInFlight)
	l.shape = sh
	eventfd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("netpoll: loop %d: eventfd: %w", id, err)
	}
	l.eventfd = eventfd
	b, err := newBank(sh, 0)
	if err != nil {
		err = uring.Explain(err)
	} else {
		l.banks = []*bank{b}
		err = l.listen(cfg.Listeners)
	}
	if err != nil {
		unix.Close(eventfd)
		for _, b := range l.banks {
			b.close()
		}
		return nil, fmt.Errorf("netpoll: loop %d: %w", id, err)
	}
	return l, nil
}

// fileLimit is the largest table of direct descriptors that the kernel allows a ring.
func fileLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return acceptsInFlight
	}
	return int(min(limit.Cur, filesPerBankMax))
}

// Run runs the loop on the calling goroutine, which it locks to its thread, until Stop, and
// returns nil then. A loop runs once; after that Run returns ErrStopped.
func (l *URing) Run(handler Handler) error {
	if l.handler != nil {
		return ErrStopped
	}
	defer ownThread(l.slice)()
	defer l.pace.Begin()()
	if err := l.begin(handler); err != nil {
		return err
	}
	for !l.stop.Load() {
		l.wait()
		l.turn()
	}
	l.shutdown()
	return nil
}

// begin makes the calling thread the owner of the ring.
func (l *URing) begin(handler Handler) error {
	l.handler = handler
	main := l.banks[0]
	if err := main.ring.Enable(); err != nil {
		return fmt.Errorf("netpoll: loop %d: %w", l.id, err)
	}
	main.ring.Watch(l.eventfd, userData(kindWake, 0, 0))
	l.armAccepts()
	return nil
}

// wait returns when there is something to do in a turn, and with the time of that turn.
func (l *URing) wait() {
	began := l.now
	gather := true
	for {
		l.now = monotonic()
		timeout, bounded := l.due()
		if !bounded {
			timeout = -1
		}
		if l.owed || l.spin || timeout == 0 || l.state.Load() == notified || l.ready() {
			l.submit(true)
			if l.spin && timeout != 0 && !l.owed && !l.ready() && l.state.Load() != notified {
				l.stats.Idle++
			}
			break
		}
		if rest := l.pace.Rest(began, l.now); gather && rest >= pace.Least {
			gather = false
			l.gather(rest, timeout)
		} else if len(l.banks) == 1 || !l.submit(false) {
			// One call submits and then waits: what is submitted completes only if it wants a turn.
			l.sleep(timeout)
		}
		l.settle()
		if l.ready() || len(l.ended) > 0 {
			break
		}
	}
	l.now = monotonic()
}

// submit gives the kernel what was asked for, and takes what it has done: are there completions
// for a turn? What only waits for the other side goes along with the sleep that follows. If none
// follows, since other rings keep the loop busy, it waits for heldTurnsMax turns.
func (l *URing) submit(hasty bool) bool {
	for i, b := range l.banks {
		pending := b.ring.Pending() > 0
		if b.expects || b.ring.Waiting() ||
			pending && (i > 0 || hasty || l.heldTurns >= heldTurnsMax || b.ring.Ready()) {
			b.submit()
		}
	}
	l.settle()
	if l.banks[0].ring.Pending() > 0 && l.ready() {
		l.heldTurns++
	} else {
		l.heldTurns = 0
	}
	return l.ready()
}

// gather submits and lets completions gather. The loop counts as awake: whoever calls Wake
// meanwhile is seen soon enough.
func (l *URing) gather(d, timeout time.Duration) {
	main, others := l.banks[0], l.banks[1:]
	for _, b := range others {
		if b.ring.Pending() > 0 || b.ring.Waiting() {
			b.submit()
		}
		if b.ring.Ready() {
			d = 0
		}
	}
	if timeout >= 0 {
		d = min(d, timeout)
	}
	main.wait(uring.Wait{Completions: l.pace.Enough, Timeout: d, Brief: true})
	for _, b := range others {
		if b.ring.Waiting() {
			b.submit()
		}
	}
}

// sleep blocks until something completes, a timer is due or somebody wakes the loop.
func (l *URing) sleep(timeout time.Duration) {
	if !l.state.CompareAndSwap(awake, asleep) {
		return
	}
	main, others := l.banks[0], l.banks[1:]
	quiet := true
	for _, b := range others {
		b.ring.Notify(true)
		quiet = quiet && !b.ring.Waiting() && !b.ring.Ready() && b.ring.Pending() == 0
	}
	if quiet {
		l.stats.Sleeps++
		if l.brief && (timeout < 0 || timeout > briefLimit) {
			timeout = briefLimit
		}
		main.wait(uring.Wait{Completions: 1, Timeout: timeout, Brief: l.brief})
		l.brief = main.ring.Ready() && (l.brief || monotonic()-l.now < int64(briefMax))
	}
	for _, b := range others {
		b.ring.Notify(false)
		if b.ring.Waiting() {
			b.submit()
		}
	}
	l.state.CompareAndSwap(asleep, awake) // or it stays notified
}

// ready tells whether there are completions.
func (l *URing) ready() bool {
	for _, b := range l.banks {
		if b.ring.Ready() {
			return true
		}
	}
	return false
}

// due returns how long the loop may sleep; false is for ever.
func (l *URing) due() (time.Duration, bool) {
	due, ok := l.wheel.next(l.now)
	sooner := func(at int64) {
		if rest := max(0, time.Duration(at-l.now)); at != 0 && (!ok || rest < due) {
			due, ok = rest, true
		}
	}
	sooner(l.alarm)
	sooner(l.parkDue())
	if l.resting > 0 {
		for i := range l.listeners {
			sooner(l.listeners[i].resume)
		}
	}
	return due, ok
}

// turn is one round of the loop. What its Flush causes is told in a later one.
func (l *URing) turn() {
	l.stats.Turns++
	receives, bytes := l.stats.Receives, l.stats.ReceiveBytes
	l.wake(l.now, l.handler)
	l.tell()
	l.dispatch()
	l.expire()
	l.handler.Flush()
	l.refill()
	l.pace.Turn(l.now, int(l.stats.Receives-receives), int(l.stats.ReceiveBytes-bytes))
	l.owed = len(l.ended) > 0 || len(l.resumed) > 0
}

// dispatch handles what has completed.
func (l *URing) dispatch() {
	l.tell()
	l.deliverHeld()
	for _, b := range l.banks {
		for {
			cqe, ok := b.ring.Next()
			if !ok {
				break
			}
			l.complete(b, &cqe)
			l.tell()
		}
	}
}

// complete handles one completion.
func (l *URing) complete(b *bank, cqe *uring.CQE) {
	kind, slot, generation := cqe.UserData>>56, int32(cqe.UserData>>32&0xffffff), uint32(cqe.UserData)
	var bytes []byte
	if cqe.Flags&uring.CQEBuffer != 0 {
		bytes = b.buffers.Take(cqe)
	}
	switch kind {
	case kindNone:
		return
	case kindWake:
		if cqe.Flags&uring.CQEMore == 0 {
			l.room(b).Watch(l.eventfd, cqe.UserData)
		}
		return
	case kindCall: // not found when it was looked for
		if cqe.Res >= 0 {
			unix.Close(int(cqe.Res))
		}
		return
	}
	c := l.at(slot)
	if c.generation != generation {
		return // cannot be: a slot waits for its completions
	}
	last := cqe.Flags&uring.CQEMore == 0
	if last {
		c.ops--
		l.ops--
		if kind == kindReceive {
			l.receives--
		}
	}
	if kind == kindSend && c.send != 0 {
		p := &l.sends[c.send-1]
		p.quiet = false // nothing more is to be found out about it
		if !p.blocked && cqe.Res == -int32(unix.EAGAIN) {
			cqe.Res = 0
		}
	}
	switch {
	case kind == kindAccept:
		l.accepted(b, slot, c, cqe.Res)
	case c.state == closed || c.state == refused:
		if kind == kindSend && c.send != 0 && cqe.Res > 0 {
			l.stats.SendBytes += uint64(cqe.Res)
			l.sends[c.send-1].taken += int(cqe.Res)
		}
		l.endWhenDone(slot, c)
	case kind == kindConnect:
		l.connected(b, slot, c, cqe.Res)
	case kind == kindReceive:
		if cqe.Res > 0 {
			l.queueSeen(slot, c, cqe.Flags&uring.CQENonEmpty != 0)
		}
		l.received(slot, c, bytes, cqe.Res, last)
	case kind == kindSend:
		l.sent(slot, c, cqe.Res)
	case kind == kindWatch:
		l.watched(slot, c, cqe.Res)
	case kind == kindQueued:
		l.queued(c, cqe.Res)
	case kind == kindProgress:
		l.progress(slot, c, cqe.Res)
	}
}

// expire handles the timers that are due.
func (l *URing) expire() {
	for {
		timer, ok := l.wheel.pop(l.now)
		if !ok {
			break
		}
		slot := timer / timersPerConn
		c := l.at(slot)
		if timer%timersPerConn == timerWrite {
			l.sendExpired(slot, c)
		} else {
			l.handler.Timeout(MakeHandle(l.id, int(slot), c.generation))
		}
		l.tell()
	}
	if l.receives > 0 {
		l.parkStep()
	}
	for i := range l.listeners {
		if a := &l.listeners[i]; a.resume != 0 && a.resume <= l.now {
			a.resume = 0
			l.resting--
		}
	}
}

// refill gives the kernel's buffers back after a turn, and asks for more to come.
func (l *URing) refill() {
	for _, b := range l.banks {
		l.armReceives(b)
	}
	l.armAccepts()
}

// shutdown ends everything that is left. Posted functions and handler methods may still
// call the loop, to no effect.
func (l *URing) shutdown() {
	for i := range l.listeners {
		l.listeners[i].Close()
	}
	l.wake(l.now, l.handler)
	l.tell()
	for _, b := range l.banks {
		b.submit() // last words, before what is left of them is cancelled
	}
	l.settle()
	l.eachSlot(func(slot int32, c *uconn) {
		switch {
		case c.state == connecting || c.state == open:
			l.end(slot, c, whyStopped)
		case c.state == closed && c.send != 0:
			b, _ := l.bank(slot)
			l.cancel(b, kindSend, slot, c)
		}
	})
	l.tell()
	quiet := l.quiesce()
	l.endPosts()
	l.handler.Flush()

	// From here on Wake finds a wake-up pending, and l.over keeps one that is on its way
	// from a descriptor that may soon be another file's.
	l.state.Store(notified)
	unix.Close(l.eventfd)
	if quiet {
		for _, b := range l.banks {
			b.close()
		}
		uring.Unmap(l.peers)
		l.copies.close()
	}
	l.banks, l.pages, l.peers = nil, nil, nil
}

// quiesce waits until the kernel is done with everything, and tells whether it is.
func (l *URing) quiesce() bool {
	const look = 10 * time.Millisecond
	deadline := monotonic() + int64(quiesceMax)
	for l.ops > 0 {
		for _, b := range l.banks {
			b.submit()
		}
		l.settle()
		l.dispatch()
		if l.ops == 0 {
			break
		}
		if monotonic() > deadline {
			l.log.Error("the kernel does not end what was cancelled: memory is left to it",
				"requests", l.ops)
			return false
		}
		for _, b := range l.banks[1:] {
			b.wait(uring.Wait{Completions: 1})
		}
		l.banks[0].wait(uring.Wait{Completions: 1, Timeout: look})
		l.dispatch()
	}
	for _, b := range l.banks {
		b.submit() // closes sockets
	}
	return true
}

// ID implements Loop.
func (l *URing) ID() int { return l.id }

// Now implements Loop.
func (l *URing) Now() int64 { return l.now }

// SetBusy implements Loop.
func (l *URing) SetBusy(busy bool) { l.spin = busy }

// Stats implements Loop.
func (l *URing) Stats() Stats {
	s := l.stats
	s.Wakeups, s.Posts = l.wakeups.Load(), l.posts
	s.Connections = l.live
	return s
}
