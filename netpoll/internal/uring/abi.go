package uring

// The kernel's numbers and structures (include/uapi/linux/io_uring.h), as far as they are used.

// Flags of io_uring_setup.
const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupRDisabled    = 1 << 6
	setupSubmitAll    = 1 << 7
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16
)

// Offsets for mmap.
const (
	offSQRing = 0
	offSQEs   = 0x10000000
)

// Flags in the memory of the submission and the completion queue.
const (
	sqCQOverflow      = 1 << 1
	sqTaskrun         = 1 << 2
	cqEventfdDisabled = 1 << 0
)

// Flags of io_uring_enter.
const (
	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3
	enterNoIowait  = 1 << 7
)

// Operations of io_uring_register.
const (
	registerEventfd     = 4
	registerFilesUpdate = 6
	unregisterFiles     = 3
	registerProbe       = 8
	registerEnableRings = 12
	registerFiles2      = 13
	registerPbufRing    = 22

	rsrcRegisterSparse = 1 << 0
	pbufRingInc        = 2
)

// Operations.
const (
	opPollAdd        = 6
	opAccept         = 13
	opAsyncCancel    = 14
	opConnect        = 16
	opClose          = 19
	opSend           = 26
	opRecv           = 27
	opURingCmd       = 46
	opFixedFDInstall = 54
	opLast           = 64 // room in a probe
)

// Flags of an SQE.
const (
	sqeFixedFile      = 1 << 0
	sqeBufferSelect   = 1 << 5
	sqeCQESkipSuccess = 1 << 6
)

// What single operations take.
const (
	recvsendPollFirst = 1 << 0
	recvMultishot     = 1 << 1
	pollAddMulti      = 1 << 0
	socketSIOCOUTQ    = 1
	socketSetsockopt  = 3
)

// Flags of a CQE.
const (
	CQEBuffer     = 1 << 0 // a provided buffer was used; its number is in the upper half
	CQEMore       = 1 << 1 // the request goes on: more completions will come
	CQENonEmpty   = 1 << 2 // more waits in the socket that was received from
	CQEBufferMore = 1 << 4 // the kernel will go on filling this buffer
	cqeBufShift   = 16
)

// SQE is a submission queue entry; names of the kernel's unions follow what is used.
type SQE struct {
	opcode      uint8
	flags       uint8
	ioprio      uint16
	fd          int32
	off         uint64 // or addr2, cmd_op
	addr        uint64 // or level and optname
	length      uint32
	opFlags     uint32 // msg_flags, poll_events, accept_flags, cancel_flags, …
	userData    uint64
	bufGroup    uint16
	personality uint16
	fileIndex   uint32 // or optlen
	addr3       uint64 // or optval
	_           uint64
}

// CQE is a completion queue entry.
type CQE struct {
	UserData uint64
	Res      int32
	Flags    uint32
}

// Buffer is the number of the provided buffer, if Flags has CQEBuffer.
func (c *CQE) Buffer() int { return int(c.Flags >> cqeBufShift) }

type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	_                                                           uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	_                                                           uint64
}

type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     sqOffsets
	cq                                                                     cqOffsets
}

const (
	featSingleMmap = 1 << 0
	featNoDrop     = 1 << 1
	featExtArg     = 1 << 8
	featCQESkip    = 1 << 11
	featNoIowait   = 1 << 17
)

type geteventsArg struct {
	sigmask   uint64
	sigmaskSz uint32
	minWait   uint32
	ts        uint64
}

type rsrcRegister struct {
	nr, flags uint32
	_         uint64
	data      uint64
	tags      uint64
}

type filesUpdate struct {
	offset, _ uint32
	fds       uint64
}

type bufReg struct {
	ringAddr    uint64
	ringEntries uint32
	bgid        uint16
	flags       uint16
	_           [3]uint64
}

type bufEntry struct {
	addr uint64
	len  uint32
	bid  uint16
	tail uint16 // of the ring, in entry 0
}

type probeOp struct {
	op, _ uint8
	flags uint16
	_     uint32
}

type probe struct {
	lastOp, opsLen uint8
	_              uint16
	_              [3]uint32
	ops            [opLast]probeOp
}
