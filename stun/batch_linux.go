package stun

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	n      uint32 // bytes received or sent
}

// batch is the memory of one system call's worth of requests and answers. It belongs to
// the Serve goroutine, lives on the heap, and its headers always point into itself.
type batch struct {
	in, out       [batchMessages]message
	inIO, outIO   [batchMessages]unix.Iovec
	names         [batchMessages]unix.RawSockaddrInet6 // has room for IPv4's too
	controls      [batchMessages]controlBuffer
	requests      [batchMessages][requestBytesMax]byte
	replies       [batchMessages][replyBytesMax]byte
	replyControls [batchMessages]controlBuffer
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.in {
		b.inIO[i].Base = &b.requests[i][0]
		b.inIO[i].SetLen(requestBytesMax)
		b.in[i].header.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		b.in[i].header.Iov = &b.inIO[i]
		b.in[i].header.SetIovlen(1)
		b.in[i].header.Control = &b.controls[i].bytes[0]
		b.outIO[i].Base = &b.replies[i][0]
		b.out[i].header.Iov = &b.outIO[i]
		b.out[i].header.SetIovlen(1)
	}
	b.rearm(batchMessages)
	return b
}

// rearm gives the first n requests back the lengths that the kernel has overwritten.
func (b *batch) rearm(n int) {
	for i := range b.in[:n] {
		b.in[i].header.Namelen = unix.SizeofSockaddrInet6
		b.in[i].header.SetControllen(controlBytesMax)
		b.in[i].header.Flags = 0
	}
}

// answer judges the first n requests, lays the answers into b.out from its beginning,
// and returns how many. What it counts is added to stats.
func (b *batch) answer(n int, stats *Stats) (answers int) {
	for i := range b.in[:n] {
		size := min(int(b.in[i].n), requestBytesMax)
		from := sender(&b.names[i])
		reply, verdict := Answer(b.replies[i][:0], b.requests[i][:size], from)
		switch verdict {
		case Answered:
		case NoReturnAddress:
			stats.WriteErrors++
			continue
		default:
			stats.NotSTUN++
			continue
		}
		if from.Addr().Unmap().Is4() {
			stats.IPv4++
		} else {
			stats.IPv6++
		}
		b.lay(answers, i, len(reply), stats)
		answers++
	}
	return answers
}

// lay makes b.out[slot] the answer to request i, whose reply has size bytes.
func (b *batch) lay(slot, i, size int, stats *Stats) {
	in, out := &b.in[i].header, &b.out[slot].header
	out.Name, out.Namelen = in.Name, in.Namelen
	b.outIO[slot].Base = &b.replies[i][0]
	b.outIO[slot].SetLen(size)
	out.Control = nil
	out.SetControllen(0)
	received := b.controls[i].bytes[:min(int(in.Controllen), controlBytesMax)]
	if n := replyControl(&b.replyControls[i], received); n > 0 {
		out.Control = &b.replyControls[i].bytes[0]
		out.SetControllen(n)
	} else {
		stats.NoLocalAddr++
	}
}

// sender reads the address that the kernel wrote; zero for a family that is neither.
func sender(name *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&name.Port)) // network byte order
	host := uint16(port[0])<<8 | uint16(port[1])
	switch name.Family {
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), host)
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), host)
	}
	return netip.AddrPort{}
}

// Neither call ever blocks, so they go past the scheduler's bookkeeping (RawSyscall): entering a
// call by the other way wakes the runtime's monitor thread whenever the process was idle before,
// which costs more than the call.

// receiveMessages is recvmmsg(2) without waiting.
func receiveMessages(fd uintptr, m []message) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&m[0])),
		uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendMessages is sendmmsg(2) without waiting. It stops at the first message that cannot
// be sent; the error is told only if that is the first of all.
func sendMessages(fd uintptr, m []message) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&m[0])),
		uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
