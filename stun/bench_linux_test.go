package stun

import (
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServe answers bursts over loopback; one client, one server, in one process.
// server-ns/answer is the CPU time of the server's thread alone, in which loopback makes it
// pay for delivering the answer too. Serve is tied to a thread for that, which a server does
// not do: with burst=1 most of the figure is the handing over of that thread.
func BenchmarkServe(b *testing.B) {
	for _, bm := range []struct {
		name  string
		addr  string
		burst int
	}{
		{"ipv4/burst=1", "127.0.0.1:0", 1},
		{"ipv4/burst=32", "127.0.0.1:0", 32},
		{"dual-stack/burst=32", "[::]:0", 32},
	} {
		b.Run(bm.name, func(b *testing.B) { benchmarkServe(b, bm.addr, bm.burst) })
	}
}

func benchmarkServe(b *testing.B, addr string, burst int) {
	s := listen(b, addr)
	thread, done := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread() // so that its CPU clock is that of Serve
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		done <- s.Serve()
	}()
	tid := <-thread
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1),
		Port: int(s.Addr().Port())})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	memory, req := newBatch(), request(b)
	for i := range memory.out[:burst] {
		memory.outIO[i].Base = &req[0]
		memory.outIO[i].SetLen(len(req))
	}
	missing := 0
	receive := func(fd uintptr) bool {
		for missing > 0 {
			n, errno := receiveMessages(fd, memory.in[:])
			if errno != 0 {
				return errno != unix.EAGAIN
			}
			missing -= n
			memory.rearm(n)
		}
		return true
	}
	send := func(fd uintptr) bool {
		missing, _ = sendMessages(fd, memory.out[:burst])
		return missing > 0
	}
	b.ReportAllocs()
	b.ResetTimer()
	busy, answers := threadTime(b, tid), 0
	for answers < b.N {
		if err := raw.Write(send); err != nil {
			b.Fatal(err)
		}
		answers += missing
		conn.SetReadDeadline(time.Now().Add(patience))
		if err := raw.Read(receive); err != nil || missing > 0 {
			b.Fatalf("%d answers are missing: %v", missing, err)
		}
	}
	b.ReportMetric(float64(threadTime(b, tid)-busy)/float64(answers), "server-ns/answer")
	b.ReportMetric(float64(answers)/b.Elapsed().Seconds(), "answers/s")
	b.StopTimer()
	s.Close()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// threadTime is the CPU time in ns that a thread of this process has used.
func threadTime(b *testing.B, tid int) int64 {
	const perThreadScheduled = 4 | 2 // the kernel's CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^tid<<3|perThreadScheduled), &ts); err != nil {
		b.Fatal(err)
	}
	return ts.Nano()
}
