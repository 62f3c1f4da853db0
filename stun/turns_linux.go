package stun

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/netpoll"
	"derpd/netpoll/pace"
)

// turns is what Serve does, turn by turn: a batch is taken, its answers are sent.
type turns struct {
	server *Server
	batch  *batch
	pace   pace.Pace
	began  int64 // the last turn, ns of the monotonic clock
	brief  bool  // the last wait was short and ended by a datagram: so may the next one be

	failures int   // reads that failed in a row
	requests int   // taken in this turn
	answers  int   // to be sent
	sent     int   // of them, those done with, sent or not
	stats    Stats // what this turn has counted

	// The clock in ns, and what lets time pass, replaced by tests.
	now func() int64
	nap func(time.Duration)
}

// outcome is what a turn leaves to be done before the next one.
type outcome int8

const (
	wantsNothing outcome = iota
	wantsOthers          // the socket is empty, and others may follow soon
	wantsRequest         // it still is
	wantsRoom            // its buffer has no room for an answer
	wantsPause           // reads keep failing
)

func newTurns(s *Server) *turns {
	return &turns{server: s, batch: newBatch(), pace: pace.New(s.gather),
		now: netpoll.Clock, nap: pace.Nap}
}

// turn takes a batch, unless answers are left of the last one, and sends its answers. A batch that
// is not full has emptied the socket, which is not asked again whether it has.
func (t *turns) turn() outcome {
	if t.sent == t.answers {
		t.began = t.now()
		n, errno := t.server.receive(t.server.fd, t.batch.in[:])
		switch errno {
		case 0:
		case unix.EAGAIN:
			t.pace.Turn(t.began, 0, 0)
			return wantsRequest
		case unix.EINTR:
			return wantsNothing
		default:
			t.server.counters.readErrors.Add(1)
			if t.failures++; t.failures > readErrorsInRow {
				return wantsPause
			}
			return wantsNothing
		}
		t.pace.Turn(t.began, n, 0)
		t.failures = 0
		t.requests = n
		t.answers, t.sent = t.batch.answer(n, &t.stats), 0
	}
	if !t.send() {
		return wantsRoom
	}
	full := t.requests == batchMessages
	t.finish()
	if full {
		return wantsNothing
	}
	return wantsOthers
}

// send sends what is left of the answers; false means that there is no room in the socket's
// buffer. An answer that the kernel refuses is counted and passed over.
func (t *turns) send() bool {
	for t.sent < t.answers {
		n, errno := t.server.send(t.server.fd, t.batch.out[t.sent:t.answers])
		switch {
		case errno == 0 && n > 0:
			t.sent += n
			t.stats.Successes += uint64(n)
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
		default:
			t.sent++
			t.stats.WriteErrors++
		}
	}
	return true
}

// finish counts a turn and makes its buffers ready for the next.
func (t *turns) finish() {
	t.server.counters.add(&t.stats)
	t.stats = Stats{}
	t.batch.rearm(t.requests)
	t.answers, t.sent = 0, 0
}

// gather lets requests gather, if so many come that several share the next turn, or waits for one.
// After a turn that took long others are there already.
func (t *turns) gather() {
	if t.pace.Wait == 0 {
		t.wait(unix.POLLIN)
	} else if rest := t.pace.Rest(t.began, t.now()); rest >= restLeast {
		t.nap(rest)
	}
}

// wait blocks until the socket is ready or closed, or for less (a signal). Going through Go's
// scheduler, which looks for other work and wakes its monitor thread, costs more than an answer, so
// a wait that is expected to be brief does not: it keeps its processor of the scheduler, as the
// loops' waits do, up to briefLimit. That has a signal for a wait that it does not want to last.
func (t *turns) wait(events int16) {
	p := unix.PollFd{Fd: int32(t.server.fd), Events: events | unix.POLLRDHUP}
	began := t.now()
	var n uintptr
	limit := unix.NsecToTimespec(int64(waitLimit))
	if t.brief {
		limit = unix.NsecToTimespec(int64(briefLimit))
		n, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	} else {
		n, _, _ = unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
			uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	}
	t.brief = n == 1 && (t.brief || t.now()-began < int64(briefMax))
}
