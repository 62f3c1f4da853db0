package netpoll

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// The kinds of loops that a test runs on, as its subtests are named. The last is io_uring as an
// older kernel has it, with so little of everything that queues overflow, buffers run out and
// a few connections take several rings.
const (
	onEpoll = "epoll"
	onURing = "io_uring"
	onScant = "scant io_uring"

	// For benchmarks: with the connections spread over four banks; with a request for each
	// receive, as before Linux 6.17.
	onBanks = "several rings"
	onOlder = "single receives"
)

// eachEngine runs a test on every kind of loop; newLoop makes one of the kind under test.
func eachEngine(t *testing.T, test func(t *testing.T)) {
	t.Run(onEpoll, test)
	if err := ProbeURing(); err != nil {
		t.Run(onURing, func(t *testing.T) { t.Skip(err) })
		return
	}
	t.Run(onURing, test)
	t.Run(onScant, test)
}

// scant is the shape of the last kind.
func scant() shape {
	return shape{entries: 4, completions: 8, files: acceptsInFlight/2 + 1, buffers: 2,
		bufferBytes: 8 << 10}
}

func newLoop(t testing.TB, id int, cfg Config) (Runner, error) {
	on := func(kind string) bool {
		return strings.Contains(t.Name(), "/"+strings.ReplaceAll(kind, " ", "_"))
	}
	if on(onURing) {
		return NewURing(id, cfg)
	}
	sh := scant()
	switch features, err := uring.Probe(); {
	case on(onScant):
	case !on(onBanks) && !on(onOlder):
		return NewEpoll(id, cfg)
	case err != nil:
		return nil, err
	default:
		sh = shape{entries: uringEntries, completions: uringCompletions, files: 1000,
			buffers: 16, bufferBytes: bufferBytes, features: features}
		if on(onBanks) {
			sh.files = 48
		} else {
			sh.features.ReceiveLimit = false
		}
	}
	if err := cfg.complete(id); err != nil {
		return nil, err
	}
	return newURing(id, cfg, sh)
}

func wakerOf(l Runner) *waker {
	switch l := l.(type) {
	case *Epoll:
		return &l.waker
	case *URing:
		return &l.waker
	}
	panic("another kind of loop")
}

func wheelOf(l Runner) *wheel {
	switch l := l.(type) {
	case *Epoll:
		return l.wheel
	case *URing:
		return l.wheel
	}
	panic("another kind of loop")
}

// withSocket gives the socket of a connection as an ordinary descriptor. The loop's only.
func withSocket(t *testing.T, l Runner, h Handle, use func(fd int)) {
	switch l := l.(type) {
	case *Epoll:
		use(int(l.at(int32(h.Slot())).fd))
	case *URing:
		fd, errno := l.borrow(int32(h.Slot()), l.at(int32(h.Slot())))
		if errno != 0 {
			t.Error(errno)
			return
		}
		defer unix.Close(int(fd))
		use(int(fd))
	}
}
