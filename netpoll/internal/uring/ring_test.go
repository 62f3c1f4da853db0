package uring

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// open makes a ring that the test's goroutine owns.
func open(t *testing.T, cfg Config) *Ring {
	t.Helper()
	if _, err := Probe(); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Enable(); err != nil {
		t.Fatal(err)
	}
	return r
}

// await waits for the completion that carries data.
func await(t *testing.T, r *Ring, data uint64) CQE {
	t.Helper()
	for range 100 {
		if cqe, ok := r.Next(); ok {
			if cqe.UserData != data {
				t.Fatalf("completion %+v, want one of %d", cqe, data)
			}
			return cqe
		}
		r.Wait(Wait{Completions: 1, Timeout: 100 * time.Millisecond})
	}
	t.Fatalf("no completion of %d", data)
	panic("not reached")
}

// pair puts one end of a connection into the table and returns the other.
func pair(t *testing.T, r *Ring, file int) int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetFile(file, fds[0]); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[0])
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fds[1]
}

// What is received lies where Take says, unchanged until Recycle, over many rounds of the ring
// of buffers.
func TestBuffers(t *testing.T) {
	for _, incremental := range []bool{true, false} {
		r := open(t, Config{Entries: 8, Completions: 16, Files: 1})
		if f, _ := Probe(); incremental && !f.Incremental {
			continue
		}
		const count, size = 4, 4096
		b, err := NewBuffers(r, count, size, incremental)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		peer := pair(t, r, 0)
		for round := range 100 {
			var kept [][]byte
			for i := range 3 {
				want := bytes.Repeat([]byte{byte(round*3 + i)}, 700)
				unix.Write(peer, want)
				r.Receive(0, size, true, 9)
				cqe := await(t, r, 9)
				if cqe.Res <= 0 || cqe.Flags&CQEBuffer == 0 {
					t.Fatalf("round %d: %+v", round, cqe)
				}
				got := b.Take(&cqe)
				if !bytes.Equal(got, want[:len(got)]) || cap(got) != len(got) {
					t.Fatalf("round %d: other bytes than were sent", round)
				}
				if rest := len(want) - len(got); rest > 0 { // the end of a buffer
					r.Receive(0, size, true, 9)
					cqe = await(t, r, 9)
					if n := len(b.Take(&cqe)); n != rest {
						t.Fatalf("round %d: %d bytes, want %d", round, n, rest)
					}
				}
				kept = append(kept, got)
			}
			for i, got := range kept {
				if got[0] != byte(round*3+i) {
					t.Fatalf("round %d: bytes overwritten before Recycle", round)
				}
			}
			b.Recycle()
			if b.Free() != count {
				t.Fatalf("%d buffers free after Recycle", b.Free())
			}
		}
	}
}

// Recycle leaves alone what was received into the present buffer and has not been taken yet: a
// request that found the queue full was submitted late in the turn, and brought completions along.
func TestRecycleBeforeTake(t *testing.T) {
	r := open(t, Config{Entries: 8, Completions: 16, Files: 1})
	if f, _ := Probe(); !f.Incremental {
		t.Skip("buffers are not filled by one receive after the other")
	}
	b, err := NewBuffers(r, 2, 4096, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	peer := pair(t, r, 0)
	receive := func(fill byte) {
		unix.Write(peer, bytes.Repeat([]byte{fill}, 700))
		r.Receive(0, 4096, true, 9)
		r.Submit()
	}
	receive(1)
	cqe := await(t, r, 9)
	b.Take(&cqe)
	receive(2) // completes, and is not taken
	b.Recycle()
	receive(3)
	for _, want := range []byte{2, 3} {
		cqe := await(t, r, 9)
		got := b.Take(&cqe)
		if len(got) != 700 || got[0] != want || got[699] != want {
			t.Errorf("%d bytes %d to %d, want 700 of %d", len(got), got[0], got[len(got)-1], want)
		}
	}
}

// Without a buffer a receive fails, and says so.
func TestBuffersRunOut(t *testing.T) {
	r := open(t, Config{Entries: 8, Completions: 16, Files: 1})
	b, err := NewBuffers(r, 1, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	peer := pair(t, r, 0)
	unix.Write(peer, make([]byte, 5000))
	for _, want := range []int32{4096, -int32(unix.ENOBUFS)} {
		r.Receive(0, 4096, false, 1)
		cqe := await(t, r, 1)
		if cqe.Res != want {
			t.Errorf("%d, want %d", cqe.Res, want)
		}
		if cqe.Res > 0 {
			b.Take(&cqe)
		}
	}
	if b.Free() != 0 {
		t.Errorf("%d buffers free, want none", b.Free())
	}
}

func TestReceiveMany(t *testing.T) {
	r := open(t, Config{Entries: 8, Completions: 16, Files: 1})
	if f, _ := Probe(); !f.ReceiveLimit {
		t.Skip("this kernel has no limit for multishot receives")
	}
	b, err := NewBuffers(r, 4, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	peer := pair(t, r, 0)
	unix.Write(peer, make([]byte, 3500))
	r.ReceiveMany(0, 1000, 3000, true, 1)
	for i, more := range []uint32{CQEMore, CQEMore, 0} {
		cqe := await(t, r, 1)
		if cqe.Res != 1000 || cqe.Flags&CQEMore != more {
			t.Errorf("completion %d: %+v", i, cqe)
		}
		b.Take(&cqe)
	}
	r.ReceiveMany(0, 1000, 3000, true, 2)
	cqe := await(t, r, 2)
	b.Take(&cqe)
	r.Cancel(2, 3)
	if cqe = await(t, r, 2); cqe.Res != -int32(unix.ECANCELED) || cqe.Flags&CQEMore != 0 {
		t.Errorf("cancelled: %+v", cqe)
	}
	r.Cancel(2, 3)
	if cqe = await(t, r, 3); cqe.Res != -int32(unix.ENOENT) {
		t.Errorf("nothing to cancel: %+v", cqe)
	}
}

// The queues say what is pending, taken and there.
func TestQueues(t *testing.T) {
	r := open(t, Config{Entries: 4, Completions: 8, Files: 1})
	peer := pair(t, r, 0)
	number := r.Given()
	sqe := r.Send(0, []byte("abcdef")[:3], true, 1)
	sqe.Extend(3)
	for range 3 {
		r.Cancel(77, 5) // fails at once
	}
	if !r.Full() || r.Pending() != 4 || r.Submitted(number) || r.Ready() {
		t.Errorf("full %t, pending %d, submitted %t, ready %t", r.Full(), r.Pending(),
			r.Submitted(number), r.Ready())
	}
	r.Submit()
	if r.Full() || r.Pending() != 0 || !r.Submitted(number) || !r.Ready() {
		t.Errorf("full %t, pending %d, submitted %t, ready %t", r.Full(), r.Pending(),
			r.Submitted(number), r.Ready())
	}
	got := make([]byte, 10)
	if n, err := unix.Read(peer, got); string(got[:n]) != "abcdef" || err != nil {
		t.Errorf("sent %q, %v", got[:n], err)
	}
	seen := 0
	r.Each(func(cqe *CQE) bool {
		seen++
		cqe.UserData = 6
		return seen < 2
	})
	for i := range 4 {
		cqe, ok := r.Next()
		if !ok || (cqe.UserData == 6) != (i < 2) || seen != 2 {
			t.Errorf("completion %d after two of four were changed: %+v, %t", i, cqe, ok)
		}
	}
}

// What is stashed stays visible and in order, and makes room for what overflowed.
func TestStash(t *testing.T) {
	r := open(t, Config{Entries: 4, Completions: 4, Files: 1})
	for i := range uint64(8) {
		if r.Full() {
			r.Submit()
		}
		r.Cancel(77, i) // fails at once
	}
	r.Submit()
	if !r.Overflowed() {
		t.Fatal("8 completions have room in a queue of 4")
	}
	if cqe, ok := r.Next(); !ok || cqe.UserData != 0 {
		t.Errorf("the first: %+v, %t", cqe, ok)
	}
	r.Stash()
	r.Submit()
	if r.Overflowed() || !r.Ready() {
		t.Errorf("overflowed %t, ready %t with 7 completions", r.Overflowed(), r.Ready())
	}
	seen := uint64(1)
	r.Each(func(cqe *CQE) bool {
		if cqe.UserData != seen {
			t.Errorf("saw %d, want %d", cqe.UserData, seen)
		}
		seen++
		return true
	})
	r.Wait(Wait{Completions: 8, Timeout: -1}) // returns, since there is one already
	for i := range uint64(7) {
		if cqe, ok := r.Next(); !ok || cqe.UserData != i+1 {
			t.Errorf("took %+v, %t, want %d", cqe, ok, i+1)
		}
	}
	if _, ok := r.Next(); ok || seen != 8 || r.Ready() {
		t.Errorf("saw %d completions of 7, and there are more", seen-1)
	}
}

// A quiet send has no completion when all is taken, and one at once when it is not; what is then
// said to be taken is what the peer gets.
func TestQuietSend(t *testing.T) {
	r := open(t, Config{Entries: 4, Completions: 8, Files: 1})
	peer := pair(t, r, 0)
	chunk, taken, whole := make([]byte, 50_000), 0, 0
	for {
		number := r.Given()
		r.Send(0, chunk, true, 1).Quiet()
		r.Submit()
		if !r.Submitted(number) || r.Overflowed() {
			t.Fatal("not submitted, or more completions than there is room for")
		}
		cqe, ok := r.Next()
		if !ok {
			taken += len(chunk)
			whole++
			continue
		}
		if cqe.UserData != 1 || int(cqe.Res) >= len(chunk) {
			t.Fatalf("completed: %+v", cqe)
		}
		if cqe.Res == -int32(unix.EAGAIN) {
			break
		}
		taken += int(cqe.Res)
	}
	if whole == 0 {
		t.Error("no send was taken as a whole")
	}
	sqe := r.Send(0, chunk, true, 2)
	sqe.Quiet()
	sqe.Loud()
	r.Submit()
	if cqe, ok := r.Next(); ok {
		t.Errorf("a loud send completes with the peer's buffer full: %+v", cqe)
	}
	for left := taken + len(chunk); left > 0; {
		n, err := unix.Read(peer, make([]byte, left))
		if n <= 0 || err != nil {
			t.Fatalf("%d bytes are missing: %v", left, err)
		}
		left -= n
		r.Submit()
	}
	if cqe := await(t, r, 2); int(cqe.Res) != len(chunk) {
		t.Errorf("the loud send: %+v", cqe)
	}
}

// Accepted sockets come into the table with their peer's address; they can be asked, set up,
// borrowed and closed there.
func TestSockets(t *testing.T) {
	r := open(t, Config{Entries: 8, Completions: 16, Files: 4})
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(listener) })
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 8); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	from, size := new(unix.RawSockaddrAny), uint32(unix.SizeofSockaddrAny)
	r.Accept(listener, 2, from, &size, 1)
	peer, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(peer) })
	r.Submit()
	if err := unix.Connect(peer, bound); err != nil {
		t.Fatal(err)
	}
	if cqe := await(t, r, 1); cqe.Res != 0 || from.Addr.Family != unix.AF_INET {
		t.Fatalf("accept: %+v, family %d", cqe, from.Addr.Family)
	}
	r.Unsent(2, 2)
	if cqe := await(t, r, 2); cqe.Res != 0 {
		t.Errorf("unsent bytes: %+v", cqe)
	}
	value := int32(1)
	r.SetOption(2, unix.SOL_SOCKET, unix.SO_KEEPALIVE,
		unsafe.Slice((*byte)(unsafe.Pointer(&value)), 4), 3)
	r.Install(2, 4)
	fd := int(await(t, r, 4).Res)
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 1 || err != nil {
		t.Errorf("the option that was set is %d, %v", on, err)
	}
	unix.Close(fd)
	r.CloseFile(2, 5)
	r.Submit()
	if n, err := unix.Read(peer, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("after CloseFile the peer reads %d, %v", n, err)
	}
}

// Work for a ring that nobody waits on is announced by its eventfd, if that is wanted.
func TestNotify(t *testing.T) {
	r := open(t, Config{Entries: 8, Completions: 16, Files: 1})
	eventfd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(eventfd) })
	if err := r.NotifyBy(eventfd); err != nil {
		t.Fatal(err)
	}
	peer := pair(t, r, 0)
	for _, on := range []bool{false, true} {
		r.Notify(on)
		r.WatchBreak(0, 1)
		r.Submit()
		if r.Waiting() {
			t.Error("work before anything has happened")
		}
		unix.Shutdown(peer, unix.SHUT_RDWR)
		if !r.Waiting() {
			t.Error("no work although the connection broke")
		}
		n, _ := unix.Read(eventfd, make([]byte, 8))
		if (n == 8) != on {
			t.Errorf("Notify(%t): %d bytes from the eventfd", on, n)
		}
		if cqe := await(t, r, 1); cqe.Res&unix.POLLHUP == 0 {
			t.Errorf("broken: %+v", cqe)
		}
		unix.Read(eventfd, make([]byte, 8))
		peer = pair(t, r, 0)
	}
}

// Close gives back every descriptor and mapping.
func TestClose(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds) + bytes.Count(maps, []byte("io_uring"))
	}
	open(t, Config{Entries: 4, Completions: 8, Files: 4}) // what the first needs for good
	before := count()
	r, err := Open(Config{Entries: 4, Completions: 8, Files: 4})
	if err != nil {
		t.Fatal(err)
	}
	if count() == before {
		t.Error("a ring is not counted")
	}
	r.Close()
	if after := count(); after != before {
		t.Errorf("%d descriptors and mappings after Close, %d before", after, before)
	}
}
