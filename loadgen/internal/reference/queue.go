package reference

import (
	"container/heap"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// packet waits for its time.
type packet struct {
	due      time.Time
	number   uint64 // of those received; equal times go by it
	from, to *client
	frame    []byte // a whole RecvPacket
	kind     string // disco or other
	twice    bool
	overtake bool // it lets the next of its pair pass
	gone     bool // delivered already, behind the one that passed
}

// packets is a heap by due time.
type packets []*packet

func (q packets) Len() int      { return len(q) }
func (q packets) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q packets) Less(i, k int) bool {
	if q[i].due.Equal(q[k].due) {
		return q[i].number < q[k].number
	}
	return q[i].due.Before(q[k].due)
}
func (q *packets) Push(x any) { *q = append(*q, x.(*packet)) }
func (q *packets) Pop() any {
	old := *q
	last := len(old) - 1
	p := old[last]
	old[last] = nil
	*q = old[:last]
	return p
}

// clock delivers packets when they are due.
type clock struct {
	deliver func(p *packet, late time.Duration) // late is negative if a stall was to blame

	mu      sync.Mutex
	changed sync.Cond // of an empty queue, or at the end
	queue   packets
	stalled time.Time // nothing is delivered before
	ended   bool
}

func newClock(deliver func(p *packet, late time.Duration)) *clock {
	c := &clock{deliver: deliver}
	c.changed.L = &c.mu
	return c
}

func (c *clock) add(p *packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heap.Push(&c.queue, p)
	if len(c.queue) == 1 {
		c.changed.Signal()
	}
}

// stall stops all delivery for d from now; then it goes on with what has become due.
func (c *clock) stall(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = time.Now().Add(d)
}

// forget marks a packet that was delivered in another's turn.
func (c *clock) forget(p *packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.gone = true
}

func (c *clock) waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.queue {
		if !p.gone {
			n++
		}
	}
	return n
}

func (c *clock) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.changed.Signal()
}

// run delivers until end. It locks its thread, so that the kernel wakes it as finely as it can and,
// where that is allowed (CAP_SYS_NICE), before all else: on two processors that ten others wanted,
// packets were late by up to 0.8 ms so, and by up to 80 ms without. Without it still works.
func (c *clock) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	// The default slack of 50 µs would be added to each sleep.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Priority: 1,
		Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK}, 0)
	for {
		p, late, ok := c.next()
		if !ok {
			return
		}
		if p != nil {
			c.deliver(p, late)
		}
	}
}

// next returns the packet that is due, or nil after a while if there is none; ok is false at the
// end.
func (c *clock) next() (p *packet, late time.Duration, ok bool) {
	c.mu.Lock()
	for len(c.queue) == 0 && !c.ended {
		c.changed.Wait()
	}
	if c.ended {
		c.mu.Unlock()
		return nil, 0, false
	}
	now := time.Now()
	due := c.queue[0].due
	stalled := due.Before(c.stalled)
	if stalled {
		due = c.stalled
	}
	wait := due.Sub(now)
	if wait <= 0 {
		p = heap.Pop(&c.queue).(*packet)
		c.mu.Unlock()
		if stalled {
			return p, -1, true
		}
		return p, -wait, true
	}
	c.mu.Unlock()
	if wait > spin {
		nap := unix.NsecToTimespec(int64(min(wait-spin, napMax)))
		_ = unix.Nanosleep(&nap, nil) // a signal may end it early, and then it is called again
	}
	return nil, 0, true
}
