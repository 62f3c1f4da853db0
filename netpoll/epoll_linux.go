package netpoll

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll/pace"
)

// Epoll is a Loop on epoll, level-triggered. It imitates completions: what is readable is
// received, what is writable is sent, and the handler is told of the result.
type Epoll struct {
	id           int
	epoll        int
	maxConns     int
	receiveBytes int // a connection's share of a turn
	usefulBytes  int // a turn ends when the arena has less left
	userTimeout  time.Duration
	slice        time.Duration
	keepAlive    time.Duration
	log          *slog.Logger
	handler      Handler

	// The turn.
	now      int64 // of this turn
	events   []unix.EpollEvent
	next     int  // events[next:ready] are not handled yet
	ready    int  //
	spin     bool // never sleep
	owed     bool // a turn has to come without any event
	brief    bool // the last sleep was short, and ended by an event: so may the next one be
	pace     pace.Pace
	arena    []byte
	received int // bytes of arena given out in this turn

	// The connections.
	pages []*[connsPerPage]conn
	slots int32    // ever used; slots beyond have no page or a fresh one
	free  int32    // 1 + the slot freed last, linked by conn.link; 0: none
	live  int      // connections that Closed has not been delivered for
	ended []int32  // slots whose end has still to be told
	sends []flight // sends in flight, by conn.send - 1; entry i is free if its buf is nil
	idle  []int32  // free entries of sends
	wheel *wheel

	listeners []acceptor
	paused    int                 // listeners that rest
	peer      unix.RawSockaddrAny // of the connection being accepted
	stats     Stats

	waker // what other goroutines touch
}

var _ Loop = (*Epoll)(nil)

// What an event of epoll is about, if not a connection's slot: a listener, counted down
// from slotListener, or a wake-up.
const (
	slotListener = -1
	slotWake     = math.MinInt32
)

// NewEpoll makes a loop; nothing happens before Run, which must follow (after Stop it frees
// what the loop holds and returns at once). id is its index among the loops of the process.
func NewEpoll(id int, cfg Config) (*Epoll, error) {
	if err := cfg.complete(id); err != nil {
		return nil, err
	}
	l := &Epoll{
		id:           id,
		maxConns:     cfg.MaxConns,
		receiveBytes: cfg.ReceiveBytes,
		usefulBytes:  min(cfg.ReceiveBytes, receiveBytesMin),
		userTimeout:  cfg.UserTimeout,
		slice:        cfg.Slice,
		keepAlive:    cfg.KeepAlive,
		log:          cfg.Logger.With("loop", id),
		now:          monotonic(),
		pace:         pace.New(cfg.Gather),
		events:       make([]unix.EpollEvent, eventsPerPoll),
		arena:        make([]byte, cfg.ArenaBytes),
	}
	l.wheel = newWheel(l.now)
	if err := l.open(cfg.Listeners); err != nil {
		return nil, err
	}
	return l, nil
}

// open makes the descriptors of the loop and watches its listeners.
func (l *Epoll) open(listeners []*Listener) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("netpoll: loop %d: %w", l.id, os.NewSyscallError("epoll_create1", err))
	}
	eventfd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return fmt.Errorf("netpoll: loop %d: %w", l.id, os.NewSyscallError("eventfd", err))
	}
	l.epoll, l.eventfd = epoll, eventfd
	// Edge-triggered, so that nobody has to read the counter back to zero.
	errno := control(epoll, unix.EPOLL_CTL_ADD, int32(eventfd), unix.EPOLLIN|unix.EPOLLET,
		slotWake, 0)
	for i, ln := range listeners {
		if errno != 0 {
			break
		}
		errno = control(epoll, unix.EPOLL_CTL_ADD, ln.fd, unix.EPOLLIN, slotListener-int32(i), 0)
		l.listeners = append(l.listeners, acceptor{Listener: ln})
	}
	if errno != 0 {
		unix.Close(epoll)
		unix.Close(eventfd)
		return fmt.Errorf("netpoll: loop %d: %w", l.id, os.NewSyscallError("epoll_ctl", errno))
	}
	for _, ln := range listeners {
		ln.detach = func() {
			// A copy of the descriptor in another process would keep the events coming.
			control(epoll, unix.EPOLL_CTL_DEL, ln.fd, 0, 0, 0)
		}
	}
	return nil
}

// Run runs the loop on the calling goroutine, which it locks to its thread, until Stop, and
// returns nil then. A loop runs once; after that Run returns ErrStopped.
func (l *Epoll) Run(handler Handler) error {
	if l.handler != nil {
		return ErrStopped
	}
	l.handler = handler
	defer ownThread(l.slice)()
	defer l.pace.Begin()()
	for !l.stop.Load() {
		l.wait()
		l.turn()
	}
	l.shutdown()
	return nil
}

// wait returns when there is something to do in a turn, and with the time of that turn.
func (l *Epoll) wait() {
	look := l.next == l.ready && l.gather()
	for l.next == l.ready {
		l.now = monotonic()
		timeout, bounded := l.due()
		if !bounded {
			timeout = -1
		}
		hasty := l.owed || l.spin || timeout == 0 || l.state.Load() == notified
		if !hasty && !look {
			l.sleep(timeout)
			continue
		}
		look = false
		l.next, l.ready = 0, poll(l.epoll, l.events)
		if hasty {
			if l.spin && timeout != 0 && !l.owed && l.ready == 0 && l.state.Load() != notified {
				l.stats.Idle++
			}
			break
		}
	}
	l.now = monotonic()
}

// gather lets events gather, if that pays. The loop counts as awake: whoever calls Wake meanwhile
// is seen soon enough.
func (l *Epoll) gather() bool {
	if l.pace.Wait == 0 || l.owed || l.spin || l.state.Load() == notified {
		return false
	}
	began := l.now
	l.now = monotonic()
	rest := l.pace.Rest(began, l.now)
	if timeout, bounded := l.due(); bounded {
		rest = min(rest, timeout)
	}
	if rest < pace.Least {
		return false
	}
	pace.Nap(rest)
	return true
}

// due returns how long the loop may sleep; false is for ever.
func (l *Epoll) due() (time.Duration, bool) {
	due, ok := l.wheel.next(l.now)
	sooner := func(at int64) {
		if rest := max(0, time.Duration(at-l.now)); at != 0 && (!ok || rest < due) {
			due, ok = rest, true
		}
	}
	sooner(l.alarm)
	if l.paused > 0 {
		for i := range l.listeners {
			sooner(l.listeners[i].resume)
		}
	}
	return due, ok
}

// sleep blocks until something is ready, a timer is due or somebody wakes the loop.
func (l *Epoll) sleep(timeout time.Duration) {
	if !l.state.CompareAndSwap(awake, asleep) {
		return
	}
	l.stats.Sleeps++
	if l.brief && (timeout < 0 || timeout > briefLimit) {
		timeout = briefLimit
	}
	l.next, l.ready = 0, pollFor(l.epoll, l.events, timeout, l.brief)
	l.brief = l.ready > 0 && (l.brief || monotonic()-l.now < int64(briefMax))
	l.state.CompareAndSwap(asleep, awake) // or it stays notified
}

// turn is one round of the loop. What its Flush causes is told in the next one, which comes
// at once and ends with a Flush of its own, because the handler may then have something to
// flush again.
func (l *Epoll) turn() {
	l.stats.Turns++
	receives, bytes := l.stats.Receives, l.stats.ReceiveBytes
	l.wake(l.now, l.handler)
	l.tell()
	l.dispatch()
	l.expire()
	l.handler.Flush()
	l.received = 0
	l.pace.Turn(l.now, int(l.stats.Receives-receives), int(l.stats.ReceiveBytes-bytes))
	l.owed = len(l.ended) > 0
}

// dispatch handles what is ready, until the arena is full; the rest is kept for the next
// turn, ahead of what epoll would report then, so that nobody is always the last.
func (l *Epoll) dispatch() {
	for l.next < l.ready && len(l.arena)-l.received >= l.usefulBytes {
		event := &l.events[l.next]
		l.next++
		if event.Fd >= 0 {
			l.connReady(event.Fd, uint32(event.Pad), event.Events)
		} else if event.Fd != slotWake {
			l.accept(int(slotListener - event.Fd))
		}
		l.tell()
	}
}

// expire handles the timers that are due.
func (l *Epoll) expire() {
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
	if l.paused > 0 {
		l.resumeAccept()
	}
}

// shutdown ends everything that is left. Posted functions and handler methods may still
// call the loop, to no effect.
func (l *Epoll) shutdown() {
	for i := range l.listeners {
		l.listeners[i].Close()
	}
	l.wake(l.now, l.handler)
	l.tell()
	for slot := range l.slots {
		if c := l.at(slot); c.state == connecting || c.state == open {
			l.end(slot, c, whyStopped)
		}
	}
	l.tell()
	l.endPosts()
	l.handler.Flush()

	// From here on Wake finds a wake-up pending, and l.over keeps one that is on its way
	// from a descriptor that may soon be another file's.
	l.state.Store(notified)
	unix.Close(l.eventfd)
	unix.Close(l.epoll)
	l.arena, l.events, l.pages, l.slots = nil, nil, nil, 0
}

// ID implements Loop.
func (l *Epoll) ID() int { return l.id }

// Now implements Loop.
func (l *Epoll) Now() int64 { return l.now }

// SetBusy implements Loop.
func (l *Epoll) SetBusy(busy bool) { l.spin = busy }

// Stats implements Loop.
func (l *Epoll) Stats() Stats {
	s := l.stats
	s.Wakeups, s.Posts = l.wakeups.Load(), l.posts
	s.Connections = l.live
	return s
}
