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
	// gatherMost events are worth no longer wait while there is processor time to spare: a fifth of
	// what a turn costs beside them is little, and each more saves less. Where it is scarce they
	// are as many more as the wait is longer.
	gatherMost = 5

	// shareSpare of a processor or less is what a thread may use with enough to spare: events then
	// wait for spareParts-th of the budget at most.
	shareSpare = 0.36
	spareParts = 5
	// From shareScarce on they wait for up to all of it: for sleepsWorth times the processor time
	// that a sleep costs, of which little is left to save then.
	shareScarce = 0.42
	sleepsWorth = 14

	// An event of bytesDeep or more has shared a receive already, and of bytesFull that is enough:
	// in between waits get shorter again, down to those of a processor to spare. A few connections
	// at full speed would otherwise be held to what their windows hold in a wait.
	bytesDeep = 8 << 10
	bytesFull = 16 << 10

	// shareOver is how long what a thread uses counts. Longer waits make it use less, so that in
	// between it comes to rest where both agree; the slower it is followed, the more smoothly.
	shareOver = 32 * time.Millisecond

	// tryEvery is the pause between two sleeps of tryFor that only tell what a sleep costs: under a
	// hypervisor that may be 15 µs now and 23 some minutes later. tryPart-th of what is believed
	// comes from the last of them.
	tryEvery = 50 * time.Millisecond
	tryFor   = 20 * time.Microsecond
	tryPart  = 8

	// timerSlack is how late the kernel may end a wait for the sake of others (prctl(2)): its usual
	// 50 µs are as long as what is waited for.
	timerSlack = time.Microsecond
)

// Pace decides how long a thread lets events gather before it begins a turn. What an event costs is
// mostly what a turn costs, and the wake-up before it; several that come within the time a user
// does not notice may share one. A thread gathers only while so many events come that several will
// be there: one that comes alone is never held up for others. Where its processor gets scarce it
// gathers for longer, up to the budget, if sleeps are dear: every turn that is saved saves one.
// Times are ns of a monotonic clock.
type Pace struct {
	Wait   time.Duration // for the turns to come
	Enough int           // events that end it: as many as usually come in that time, or a few

	Used func() int64 // processor time of the thread so far, ns; tests have one of their own

	budget time.Duration // how long an event may wait for others; 0: not at all
	since  int64         // when the count began
	events int           // since then
	bytes  int           // that came with them
	turns  int           // since then that followed a wait
	vain   int           // of these, with no more than one event
	pause  int64         // no waits before this time

	share  float64 // of a processor, used by the thread lately
	deep   float64 // bytes of an event lately
	looked int64   // when that was looked at
	before int64   // processor time used by then

	try   func() int64 // sleeps, and tells the processor time that it cost, ns
	sleep int64        // what that is lately
	tryAt int64        // when to try again
}

// New makes the pace of a thread whose events may wait that long for others; 0 is not at all.
func New(budget time.Duration) Pace {
	return Pace{budget: budget, Used: threadTime, try: trySleep}
}

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

// Turn tells of a turn, of the events it dealt with and of the bytes that came with them.
func (p *Pace) Turn(now int64, events, bytes int) {
	if p.budget == 0 {
		return
	}
	p.events += events
	p.bytes += bytes
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
	if events := int64(p.events); now >= p.pause && int64(p.budget)*events >= gatherMin*passed {
		wait := p.worth(now)
		if expected := int64(wait) * events; expected >= gatherMin*passed {
			p.Wait = wait
			p.Enough = min(int((expected+passed/2)/passed), int(gatherMost*spareParts*wait/p.budget))
		}
	}
	p.since, p.events, p.bytes, p.turns, p.vain = now, 0, 0, 0, 0
}

// worth is how long events may wait now.
func (p *Pace) worth(now int64) time.Duration {
	used := p.Used()
	passed := float64(now - p.looked)
	p.share += (float64(used-p.before)/passed - p.share) * min(1, passed/float64(shareOver))
	p.looked, p.before = now, used
	spare := p.budget / spareParts
	if p.share <= shareSpare {
		return spare
	}
	if now >= p.tryAt {
		p.tryAt = now + int64(tryEvery)
		p.sleep += (p.try() - p.sleep) / tryPart
	}
	most := max(spare, min(p.budget, time.Duration(sleepsWorth*p.sleep)))
	scarce := min(1, (p.share-shareSpare)/(shareScarce-shareSpare))
	p.deep += (float64(p.bytes)/float64(p.events) - p.deep) * min(1, passed/float64(shareOver))
	scarce *= max(0, min(1, (bytesFull-p.deep)/(bytesFull-bytesDeep)))
	return spare + time.Duration(scarce*float64(most-spare))
}

// trySleep sleeps for a moment and returns the processor time that it took, ns.
func trySleep() int64 {
	before := threadTime()
	Nap(tryFor)
	return threadTime() - before
}

// threadTime is the processor time that the calling thread has used.
func threadTime() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0 // cannot be
	}
	return t.Nano()
}

// Nap blocks for a short time, or less (a signal). It keeps the processor of Go's scheduler.
func Nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
