package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The methods here prepare one request each. They need room in the queue (see Full). file is an
// index in the table of direct descriptors; data comes back in the completion. Addresses follow
// the rules in doc.go.

// Accept waits for a connection on a listening descriptor and puts it into the table. from and
// size (its capacity, then its length) receive the peer's address.
func (r *Ring) Accept(listener, file int, from *unix.RawSockaddrAny, size *uint32, data uint64) {
	*r.next() = SQE{opcode: opAccept, fd: int32(listener), fileIndex: uint32(file) + 1,
		addr: address(unsafe.Pointer(from)), off: address(unsafe.Pointer(size)), userData: data}
}

// Connect connects a socket; to is read by Submit.
func (r *Ring) Connect(file int, to unsafe.Pointer, size int, data uint64) {
	*r.next() = SQE{opcode: opConnect, flags: sqeFixedFile, fd: int32(file), addr: address(to),
		off: uint64(size), userData: data}
}

// Receive takes up to most bytes into a provided buffer, once.
func (r *Ring) Receive(file int, most int, wait bool, data uint64) {
	*r.next() = SQE{opcode: opRecv, flags: sqeFixedFile | sqeBufferSelect, ioprio: pollFirst(wait),
		fd: int32(file), length: uint32(most), bufGroup: bufferGroup, userData: data}
}

// ReceiveMany takes up to most bytes at a time, each time into a provided buffer, until total
// bytes are through: completions with CQEMore, and a last one without. It needs
// Features.ReceiveLimit.
func (r *Ring) ReceiveMany(file int, most, total int, wait bool, data uint64) {
	*r.next() = SQE{opcode: opRecv, flags: sqeFixedFile | sqeBufferSelect,
		ioprio: recvMultishot | pollFirst(wait), fd: int32(file), length: uint32(most),
		fileIndex: uint32(total), bufGroup: bufferGroup, userData: data}
}

// pollFirst is the flag that spares a first try when nothing is there yet.
func pollFirst(wait bool) uint16 {
	if wait {
		return recvsendPollFirst
	}
	return 0
}

// Send sends b, or, unless all is wanted, what fits of it, at least one byte. It returns the
// entry, for Extend.
func (r *Ring) Send(file int, b []byte, all bool, data uint64) *SQE {
	var flags uint32 = unix.MSG_NOSIGNAL
	if all {
		flags |= unix.MSG_WAITALL
	}
	sqe := r.next()
	*sqe = SQE{opcode: opSend, flags: sqeFixedFile, fd: int32(file),
		addr: address(unsafe.Pointer(unsafe.SliceData(b))), length: uint32(len(b)),
		opFlags: flags, userData: data}
	return sqe
}

// AtOnce makes a Send that never waits for room: it completes with Submit. Res is what was taken,
// or -EAGAIN for nothing. It undoes Quiet on one that has not been submitted yet.
func (sqe *SQE) AtOnce() {
	sqe.flags &^= sqeCQESkipSuccess
	sqe.opFlags |= unix.MSG_DONTWAIT
}

// Quiet is AtOnce for a Send of which all is wanted, and leaves out the completion if all of it
// was taken: that is so when Submitted is true, there is none, and Overflowed is false.
func (sqe *SQE) Quiet() {
	sqe.flags |= sqeCQESkipSuccess
	sqe.opFlags |= unix.MSG_DONTWAIT
}

// Loud undoes Quiet on a Send that has not been submitted yet.
func (sqe *SQE) Loud() {
	sqe.flags &^= sqeCQESkipSuccess
	sqe.opFlags &^= unix.MSG_DONTWAIT
}

// Extend makes a Send that has not been submitted yet n bytes longer.
func (sqe *SQE) Extend(n int) { sqe.length += uint32(n) }

// Cancel ends the request that carries target. Its own completion comes only if there is no
// such request.
func (r *Ring) Cancel(target, data uint64) {
	*r.next() = SQE{opcode: opAsyncCancel, flags: sqeCQESkipSuccess, addr: target, userData: data}
}

// CloseFile empties a place of the table. The socket is closed when no request uses it any
// more; Probe sees to it that those of other sockets do not matter. A completion comes only if it
// fails.
func (r *Ring) CloseFile(file int, data uint64) {
	*r.next() = SQE{opcode: opClose, flags: sqeCQESkipSuccess, fileIndex: uint32(file) + 1,
		userData: data}
}

// Unsent asks how many bytes of a TCP connection the peer has not acknowledged (SIOCOUTQ): Res.
func (r *Ring) Unsent(file int, data uint64) {
	*r.next() = SQE{opcode: opURingCmd, flags: sqeFixedFile, fd: int32(file), off: socketSIOCOUTQ,
		userData: data}
}

// SetOption sets a socket option; value is read by Submit. A completion comes only if it fails.
func (r *Ring) SetOption(file int, level, name uint32, value []byte, data uint64) {
	*r.next() = SQE{opcode: opURingCmd, flags: sqeFixedFile | sqeCQESkipSuccess, fd: int32(file),
		off: socketSetsockopt, addr: uint64(level) | uint64(name)<<32,
		fileIndex: uint32(len(value)), addr3: address(unsafe.Pointer(unsafe.SliceData(value))),
		userData: data}
}

// Install gives a direct descriptor an ordinary one beside it: Res.
func (r *Ring) Install(file int, data uint64) {
	*r.next() = SQE{opcode: opFixedFDInstall, flags: sqeFixedFile, fd: int32(file), userData: data}
}

// Watch completes each time an ordinary descriptor becomes readable.
func (r *Ring) Watch(fd int, data uint64) {
	*r.next() = SQE{opcode: opPollAdd, fd: int32(fd), length: pollAddMulti, opFlags: unix.POLLIN,
		userData: data}
}

// WatchReadable completes once when a connection has something to receive, has failed or is over.
func (r *Ring) WatchReadable(file int, data uint64) {
	*r.next() = SQE{opcode: opPollAdd, flags: sqeFixedFile, fd: int32(file), opFlags: unix.POLLIN,
		userData: data}
}

// WatchBreak completes once when a connection has failed or is over both ways: Res has the events.
func (r *Ring) WatchBreak(file int, data uint64) {
	*r.next() = SQE{opcode: opPollAdd, flags: sqeFixedFile, fd: int32(file), userData: data}
}

func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }
