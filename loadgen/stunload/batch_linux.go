package stunload

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/stun"
)

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	n      uint32 // bytes received or sent
}

// batch is the memory of one system call's worth of datagrams. Its headers point into itself: it
// stays on the heap.
type batch struct {
	messages [batchMessages]message
	io       [batchMessages]unix.Iovec
	bytes    [batchMessages][replyBytesMax]byte
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.messages {
		b.io[i].Base = &b.bytes[i][0]
		b.io[i].SetLen(replyBytesMax)
		b.messages[i].header.Iov = &b.io[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// ask makes datagram i a request.
func (b *batch) ask(i int, id [stun.TransactionLen]byte) {
	b.io[i].SetLen(len(stun.AppendRequest(b.bytes[i][:0], id)))
}

// got is datagram i as it was received.
func (b *batch) got(i int) []byte {
	return b.bytes[i][:min(int(b.messages[i].n), replyBytesMax)]
}

// send sends the first n datagrams on a connected socket without waiting; it stops at the first
// that the kernel does not take, whose error is told only if it is the first of all.
func (b *batch) send(fd, n int) (sent int, errno unix.Errno) {
	return multi(unix.SYS_SENDMMSG, fd, b.messages[:n])
}

// receive fills as many datagrams as there are, without waiting.
func (b *batch) receive(fd int) (n int, errno unix.Errno) {
	return multi(unix.SYS_RECVMMSG, fd, b.messages[:])
}

func multi(call uintptr, fd int, m []message) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&m[0])),
		uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
