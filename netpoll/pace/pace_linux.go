package pace

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Least is the shortest wait that is worth its timer.
const Least = 5 * time.Microsecond

const (
	// window is how long events are counted before their rate is believed: some hundred of them
	// where gathering pays.
	window = 2 * time.Millisecond

	// pause is how long a thread does without waits when they were in vain.
	pause = 100 * time.Millisecond

	// gatherMin is how many events must be expected in the time they may wait, for a wait to be
	// worth its timer and what it does to the latency: two of them save next to nothing.
	gatherMin = 3
	// gatherMost events are worth no longer wait: a fifth of what a turn costs beside them is
	// little, and each more saves less.
	gatherMost = 5

	// timerSlack is how late the kernel may end a wait for the sake of others (prctl(2)): its usual
	// 50 µs are as long as what is waited for.
	timerSlack = time.Microsecond
)

// Pace decides how long a thread lets events gather before it begins a turn. What an event costs is
// mostly what a turn costs, and the wake-up before it; several that come within the time a user
// does not notice may share one. A thread gathers only while so many events come that several will
// be there: one that comes alone is never held up for others. Times are ns of a monotonic clock.
type Pace struct {
	Wait   time.Duration // for the turns to come
	Enough int           // events that end it: as many as usually come in that time, or a few

	budget time.Duration // how long an event may wait for others; 0: not at all
	since  int64         // when the count began
	events int           // since then
	turns  int           // since then that followed a wait
	vain   int           // of these, with no more than one event
	pause  int64         // no waits before this time
}

// New makes the pace of a thread whose events may wait that long for others; 0 is not at all.
func New(budget time.Duration) Pace { return Pace{budget: budget} }

// Begin makes the calling thread's waits exact, as long as it is locked, until end is called.
func (p *Pace) Begin() (end func()) {
	slack := func(d time.Duration) { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d), 0, 0, 0) }
	if p.budget > 0 {
		slack(timerSlack)
	}
	return func() { slack(0) } // what it was at first
}

// Rest is how long to gather after a turn that began then: the time of the turn counts too, in
// which others have gathered already.
func (p *Pace) Rest(began, now int64) time.Duration {
	return p.Wait - time.Duration(now-began)
}

// Turn tells of a turn and of the events it dealt with.
func (p *Pace) Turn(now int64, events int) {
	if p.budget == 0 {
		return
	}
	p.events += events
	if p.Wait > 0 {
		p.turns++
		if events <= 1 {
			p.vain++
		}
	}
	passed := now - p.since
	if passed < int64(window) {
		return
	}
	if p.vain*2 > p.turns { // they come as answers to what we send, so nothing gathers
		p.pause = now + int64(pause)
	}
	p.Wait = 0
	if expected := int64(p.budget) * int64(p.events); expected >= gatherMin*passed && now >= p.pause {
		p.Wait, p.Enough = p.budget, min(int((expected+passed/2)/passed), gatherMost)
	}
	p.since, p.events, p.turns, p.vain = now, 0, 0, 0
}

// Nap blocks for a short time, or less (a signal). It keeps the processor of Go's scheduler.
func Nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
