package uring

import (
	"golang.org/x/sys/unix"
	"testing"
	"time"
)

func TestTmp(t *testing.T) {
	f, err := Probe()
	t.Log(f, err)
	r, err := Open(Config{Entries: 8, Completions: 16, Files: 100})
	if err != nil {
		t.Fatal(err)
	}
	r.Enable()
	b, err := NewBuffers(r, 16, 64<<10, true)
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	r.SetFile(5, pair[0])
	r.ReceiveMany(5, 1000, 5000, true, 77)
	unix.Write(pair[1], make([]byte, 7777))
	for range 4 {
		r.Wait(100 * time.Millisecond)
		for {
			cqe, ok := r.Next()
			if !ok {
				break
			}
			t.Logf("%+v %x %d", cqe, cqe.Flags, len(b.Take(&cqe)))
		}
	}
	// flags
	ev, _ := unix.Eventfd(0, unix.EFD_NONBLOCK)
	t.Log(r.NotifyBy(ev))
	r.Notify(true)
	r.ReceiveMany(5, 1000, 5000, true, 78)
	r.Wait(10 * time.Millisecond)
	for {
		c, ok := r.Next()
		if !ok {
			break
		}
		t.Log(c)
		b.Take(&c)
	}
	var buf [8]byte
	n, err := unix.Read(ev, buf[:])
	t.Log(n, err, r.Waiting())
	unix.Write(pair[1], make([]byte, 777))
	t.Log(r.Waiting())
	n, err = unix.Read(ev, buf[:])
	t.Log(n, err, buf)
	r.Submit()
	t.Log(r.Ready())
	for {
		c, ok := r.Next()
		if !ok {
			break
		}
		t.Log(c)
	}
}
