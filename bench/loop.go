package bench

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// loop drives some pairs of a flow from one thread that never sleeps. Waking a sleeping
// receiver would be on the relay's bill, and here, unlike in a network card, it costs more
// than the sending; a sleep of the sender would make bursts of an even rate.
type loop struct {
	epoll  int
	pairs  []*pair
	buf    []byte
	events [64]unix.EpollEvent
}

func newLoop() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return &loop{epoll: fd, buf: make([]byte, recordBytes)}, err
}

// add registers the pair: its receiver for what comes, its sender for the edge from a full
// socket to one that takes more.
func (l *loop) add(p *pair) error {
	sender := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET, Fd: int32(len(l.pairs))}
	receiver := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(l.pairs))}
	l.pairs = append(l.pairs, p)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, p.from.wire.fd, &sender); err != nil {
		return err
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, p.to.wire.fd, &receiver)
}

// run sends and receives until stopped, then receives what is still under way. A rate of 0
// writes a second means as fast as they go.
func (l *loop) run(pace pace, stopped *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, p := range l.pairs {
		p.writes = 0
	}
	for !stopped.Load() {
		now := pace.now()
		for _, p := range l.pairs {
			if err := p.send(pace, now); err != nil {
				return fmt.Errorf("sender: %w", err)
			}
		}
		if _, err := l.poll(); err != nil {
			return err
		}
	}
	begin := clock()
	for last := begin; clock()-last < quietSpan && clock()-begin < drainWaitMax; {
		came, err := l.poll()
		if err != nil {
			return err
		}
		if came {
			last = clock()
		}
	}
	return nil
}

// poll takes what is ready and returns whether any frame came.
func (l *loop) poll() (came bool, err error) {
	n, err := unix.EpollWait(l.epoll, l.events[:], 0)
	if err != nil && err != unix.EINTR {
		return false, err
	}
	for _, e := range l.events[:max(n, 0)] {
		p := l.pairs[e.Fd]
		if e.Events&unix.EPOLLIN == 0 {
			p.full = false
			continue
		}
		came = true
		if err := p.receive(l.buf); err != nil {
			return came, fmt.Errorf("receiver: %w", err)
		}
	}
	return came, nil
}

// pace is a schedule of writes: evenly spaced, going round the senders. Times follow from a
// write's number alone, so the load is an open loop: a sender that was held up makes up for
// it, and a slow relay does not slow the schedule down. Without an interval it is full speed.
type pace struct {
	start    time.Duration // clock() of the first write
	interval time.Duration // between one write and the next sender's
	senders  int
	tick     time.Duration // senders look at the clock only this often; 0: always
}

func (c pace) now() time.Duration {
	now := clock()
	if c.tick > 0 {
		now = now / c.tick * c.tick
	}
	return now
}

// due returns the time of write n, from 0, of the sender with that index.
func (c pace) due(index, n int) time.Duration {
	return c.start + time.Duration(n*c.senders+index)*c.interval
}

var clockStart = time.Now()

// clock is the time since the process began, the same for senders and receivers.
func clock() time.Duration { return time.Since(clockStart) }
