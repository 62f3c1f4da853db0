package stun

import (
	"errors"
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
		b.Run(bm.name, func(b *testing.B) {
			s := listen(b, bm.addr)
			benchmarkAnswers(b, s.Addr().Port(), bm.burst, s.Serve, s.Close)
		})
	}
}

// BenchmarkFloor is what Serve can be measured against. echo sends each request back as it is: the
// two system calls of a batch and no codec, no control messages, no counts. singly answers, with
// two system calls for each datagram, as a server written with package net does.
func BenchmarkFloor(b *testing.B) {
	for _, bm := range []struct {
		name  string
		serve func(*net.UDPConn) error
	}{
		{"echo/burst=32", echo},
		{"singly/burst=32", singly},
	} {
		b.Run(bm.name, func(b *testing.B) {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				b.Fatal(err)
			}
			port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			serve := func() error { return bm.serve(conn) }
			benchmarkAnswers(b, port, 32, serve, conn.Close)
		})
	}
}

func echo(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	memory := newBatch()
	for i := range memory.in {
		memory.in[i].header.Control = nil
		memory.out[i].header.Name = memory.in[i].header.Name
		memory.out[i].header.Namelen = unix.SizeofSockaddrInet4
		memory.outIO[i].Base = memory.inIO[i].Base
	}
	return raw.Read(func(fd uintptr) bool {
		for {
			n, errno := receiveMessages(fd, memory.in[:])
			if errno == unix.EAGAIN {
				return false
			}
			for i := range n {
				memory.outIO[i].SetLen(int(memory.in[i].n))
				memory.in[i].header.Namelen = unix.SizeofSockaddrInet4
			}
			if sent, errno := sendMessages(fd, memory.out[:n]); sent < n {
				return errno != 0
			}
		}
	})
}

func singly(conn *net.UDPConn) error {
	var request [requestBytesMax]byte
	var reply [replyBytesMax]byte
	for {
		n, from, err := conn.ReadFromUDPAddrPort(request[:])
		if err != nil {
			return err
		}
		answer, _ := Answer(reply[:0], request[:n], from)
		if _, err := conn.WriteToUDPAddrPort(answer, from); err != nil {
			return err
		}
	}
}

func benchmarkAnswers(b *testing.B, port uint16, burst int, serve, stop func() error) {
	thread, done := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread() // so that its CPU clock is that of serve
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		done <- serve()
	}()
	tid := <-thread
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1),
		Port: int(port)})
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
	stop()
	if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
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
