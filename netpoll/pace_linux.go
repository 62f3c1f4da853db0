package netpoll

import (
	"time"

	"golang.org/x/sys/unix"
)

// pace decides how long a loop lets events gather before it begins a turn. What a packet costs is
// mostly what a turn costs, and the wake-up before it; several that come within the time a user
// does not notice may share one. A loop gathers only while so many events come that several will be
// there: one that comes alone is never held up for others.
type pace struct {
	budget time.Duration // how long an event may wait for others; 0: not at all
	since  int64         // when the count began
	events int           // since then
	turns  int           // since then that followed a wait
	vain   int           // of these, with no more than one event
	pause  int64         // no waits before this time
	wait   time.Duration // for the turns to come
	enough int           // events that end it: as many as usually come in that time, or gatherMost
}

// begin makes the calling thread's waits exact, as long as it is locked, until end is called.
func (p *pace) begin() (end func()) {
	slack := func(d time.Duration) { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d), 0, 0, 0) }
	if p.budget > 0 {
		slack(timerSlack)
	}
	return func() { slack(0) } // what it was at first
}

// rest is how long to gather after a turn that began then: the time of the turn counts too, in
// which others have gathered already.
func (p *pace) rest(began, now int64) time.Duration {
	return p.wait - time.Duration(now-began)
}

// turn tells of a turn and of the events it dealt with.
func (p *pace) turn(now int64, events int) {
	if p.budget == 0 {
		return
	}
	p.events += events
	if p.wait > 0 {
		p.turns++
		if events <= 1 {
			p.vain++
		}
	}
	passed := now - p.since
	if passed < int64(paceWindow) {
		return
	}
	if p.vain*2 > p.turns { // they come as answers to what we send, so nothing gathers
		p.pause = now + int64(pacePause)
	}
	p.wait = 0
	if expected := int64(p.budget) * int64(p.events); expected >= gatherMin*passed && now >= p.pause {
		p.wait, p.enough = p.budget, min(int((expected+passed/2)/passed), gatherMost)
	}
	p.since, p.events, p.turns, p.vain = now, 0, 0, 0
}
