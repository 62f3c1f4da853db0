package uring

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config is the shape of a ring.
type Config struct {
	Entries     uint32 // of the submission queue; a power of two
	Completions uint32 // of the completion queue; a power of two, at least Entries
	Files       uint32 // direct descriptors; at most RLIMIT_NOFILE
}

// Ring is one io_uring. The submission queue's tail and the completion queue's head are the
// owner's, the other ends the kernel's.
type Ring struct {
	fd      int
	queues  []byte // mapped: both queues
	entries []byte // mapped: the SQEs

	sqHead, sqFlags *uint32 // written by the kernel
	sqTail          *uint32 // written by Enter: publishes the SQEs before it
	sqes            []SQE
	tail            uint32 // SQEs given out so far

	cqTail  *uint32 // written by the kernel: publishes the CQEs before it
	cqHead  *uint32 // written by Next: gives the entry back
	cqFlags *uint32
	cqes    []CQE
	head    uint32 // CQEs taken so far

	stash []CQE // taken by Stash
	given int   // of these, by Next

	arg       geteventsArg
	ts        unix.Timespec
	waitFlags uintptr
}

// Open makes a ring that Enable has to start, with an empty table of cfg.Files descriptors.
// Errors are the system call's, with its name.
func Open(cfg Config) (*Ring, error) {
	const flags = setupCQSize | setupClamp | setupRDisabled | setupSubmitAll | setupTaskrunFlag |
		setupSingleIssuer | setupDeferTaskrun
	p := params{flags: flags | setupNoSQArray, cqEntries: cfg.Completions}
	fd, errno := setup(cfg.Entries, &p)
	if errno == unix.EINVAL { // before Linux 6.6
		p = params{flags: flags, cqEntries: cfg.Completions}
		fd, errno = setup(cfg.Entries, &p)
	}
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &Ring{fd: fd}
	if err := r.open(&p, cfg.Files); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Ring) open(p *params, files uint32) error {
	const need = featSingleMmap | featNoDrop | featExtArg | featCQESkip
	if p.features&need != need {
		return os.NewSyscallError("io_uring_setup", unix.EINVAL)
	}
	if err := r.mapQueues(p); err != nil {
		return err
	}
	r.waitFlags = enterGetEvents | enterExtArg
	if p.features&featNoIowait != 0 {
		// An idle loop is no processor that waits for a disk, which is what monitoring makes of it.
		r.waitFlags |= enterNoIowait
	}
	if files == 0 {
		return nil
	}
	reg := rsrcRegister{nr: files, flags: rsrcRegisterSparse}
	_, errno := register(r.fd, registerFiles2, unsafe.Pointer(&reg), unsafe.Sizeof(reg))
	if errno != 0 {
		return os.NewSyscallError("io_uring_register(FILES2)", errno)
	}
	return nil
}

// mapQueues maps what the kernel has made.
func (r *Ring) mapQueues(p *params) (err error) {
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(CQE{})))
	if p.flags&setupNoSQArray != 0 {
		size = p.cq.cqes + p.cqEntries*uint32(unsafe.Sizeof(CQE{}))
	}
	const prot, kind = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.queues, err = unix.Mmap(r.fd, offSQRing, int(size), prot, kind); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	bytes := int(p.sqEntries) * int(unsafe.Sizeof(SQE{}))
	if r.entries, err = unix.Mmap(r.fd, offSQEs, bytes, prot, kind); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	word := func(offset uint32) *uint32 {
		return (*uint32)(unsafe.Pointer(&r.queues[offset]))
	}
	r.sqHead, r.sqTail, r.sqFlags = word(p.sq.head), word(p.sq.tail), word(p.sq.flags)
	r.cqHead, r.cqTail, r.cqFlags = word(p.cq.head), word(p.cq.tail), word(p.cq.flags)
	r.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&r.queues[p.cq.cqes])), p.cqEntries)
	if p.flags&setupNoSQArray == 0 {
		array := unsafe.Slice(word(p.sq.array), p.sqEntries)
		for i := range array {
			array[i] = uint32(i)
		}
	}
	return nil
}

// Enable starts the ring; the calling thread is its owner from now on.
func (r *Ring) Enable() error {
	_, errno := register(r.fd, registerEnableRings, nil, 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_register(ENABLE_RINGS)", errno)
	}
	return nil
}

// FD is the ring's descriptor.
func (r *Ring) FD() int { return r.fd }

// next gives an entry to fill, or nil if the queue is full: Enter makes room.
func (r *Ring) next() *SQE {
	if r.Pending() == len(r.sqes) {
		return nil
	}
	sqe := &r.sqes[r.tail&uint32(len(r.sqes)-1)]
	r.tail++
	return sqe
}

// Full tells whether Enter is needed before another request.
func (r *Ring) Full() bool { return r.Pending() == len(r.sqes) }

// Pending is the number of requests that Enter has still to submit.
func (r *Ring) Pending() int { return int(r.tail - atomic.LoadUint32(r.sqHead)) }

// Given counts the requests prepared so far, modulo 2^32: the number of the next one.
func (r *Ring) Given() uint32 { return r.tail }

// Submitted tells whether the kernel has taken the request with that number.
func (r *Ring) Submitted(number uint32) bool {
	return int32(atomic.LoadUint32(r.sqHead)-number) > 0
}

// Ready tells whether there is a completion to take.
func (r *Ring) Ready() bool { return len(r.stash) > 0 || atomic.LoadUint32(r.cqTail) != r.head }

// Waiting tells whether the kernel has work for this ring that becomes completions in Enter.
func (r *Ring) Waiting() bool {
	return atomic.LoadUint32(r.sqFlags)&(sqTaskrun|sqCQOverflow) != 0
}

// Overflowed tells whether there are completions for which the queue had no room; Enter moves them
// there when it has.
func (r *Ring) Overflowed() bool { return atomic.LoadUint32(r.sqFlags)&sqCQOverflow != 0 }

// untaken tells whether there are completions that Next has not given yet, in the queue or, where
// that was full, with the kernel.
func (r *Ring) untaken() bool {
	return r.Ready() || r.Overflowed()
}

// Stash makes room in the queue for completions that overflowed: Next gives those that were there
// all the same, and first.
func (r *Ring) Stash() {
	end := atomic.LoadUint32(r.cqTail)
	for ; r.head != end; r.head++ {
		r.stash = append(r.stash, r.cqes[r.head&uint32(len(r.cqes)-1)])
	}
	atomic.StoreUint32(r.cqHead, r.head)
}

// Next takes a completion.
func (r *Ring) Next() (cqe CQE, ok bool) {
	if len(r.stash) > 0 {
		cqe = r.stash[r.given]
		if r.given++; r.given == len(r.stash) {
			r.stash, r.given = r.stash[:0], 0
		}
		return cqe, true
	}
	if atomic.LoadUint32(r.cqTail) == r.head {
		return CQE{}, false
	}
	cqe = r.cqes[r.head&uint32(len(r.cqes)-1)]
	r.head++
	atomic.StoreUint32(r.cqHead, r.head)
	return cqe, true
}

// Each shows the completions that are there without taking them; what visit changes in them
// is what Next will give. It ends when visit returns false.
func (r *Ring) Each(visit func(*CQE) bool) {
	for i := r.given; i < len(r.stash); i++ {
		if !visit(&r.stash[i]) {
			return
		}
	}
	for i, end := r.head, atomic.LoadUint32(r.cqTail); i != end; i++ {
		if !visit(&r.cqes[i&uint32(len(r.cqes)-1)]) {
			return
		}
	}
}

// Submit hands over what was prepared, and lets the kernel produce completions; it does not
// block. An error (a shortage of memory; completions that must be taken first) is temporary:
// what was not submitted stays pending.
func (r *Ring) Submit() {
	atomic.StoreUint32(r.sqTail, r.tail)
	unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.Pending()), 0,
		enterGetEvents, 0, 0)
}

// enter tells whether io_uring_enter can be called at all; Submit and Wait take that for granted.
func (r *Ring) enter() error {
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, 0, enterGetEvents, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_enter", errno)
	}
	return nil
}

// Wait says what Ring.Wait waits for.
type Wait struct {
	Completions int           // so many, counting those that are there; at least 1
	Timeout     time.Duration // after it none is needed; negative: for ever
	// Brief keeps the scheduler of Go from lending this goroutine's processor to another one
	// meanwhile, which would take it milliseconds of watching to find out.
	Brief bool
}

// Wait is Submit and blocks. It may return without a completion (a signal): the caller looks again.
func (r *Ring) Wait(w Wait) {
	if len(r.stash) > 0 {
		r.Submit()
		return
	}
	atomic.StoreUint32(r.sqTail, r.tail)
	r.arg = geteventsArg{}
	if w.Timeout >= 0 {
		r.ts = unix.NsecToTimespec(int64(w.Timeout))
		r.arg.ts = uint64(uintptr(unsafe.Pointer(&r.ts)))
	}
	if w.Brief {
		unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.Pending()),
			uintptr(w.Completions), r.waitFlags, uintptr(unsafe.Pointer(&r.arg)),
			unsafe.Sizeof(r.arg))
	} else {
		unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(r.Pending()),
			uintptr(w.Completions), r.waitFlags, uintptr(unsafe.Pointer(&r.arg)),
			unsafe.Sizeof(r.arg))
	}
	runtime.KeepAlive(r)
}

// SetFile puts a copy of a descriptor into the table, in place of what was there.
func (r *Ring) SetFile(index int, fd int) error {
	file := int32(fd)
	up := filesUpdate{offset: uint32(index), fds: uint64(uintptr(unsafe.Pointer(&file)))}
	_, errno := register(r.fd, registerFilesUpdate, unsafe.Pointer(&up), 1)
	runtime.KeepAlive(&file)
	if errno != 0 {
		return os.NewSyscallError("io_uring_register(FILES_UPDATE)", errno)
	}
	return nil
}

// NotifyBy has an eventfd written when work arrives for this ring (see Waiting), while Notify is
// on. It is on at first.
func (r *Ring) NotifyBy(eventfd int) error {
	fd := int32(eventfd)
	if _, errno := register(r.fd, registerEventfd, unsafe.Pointer(&fd), 1); errno != 0 {
		return os.NewSyscallError("io_uring_register(EVENTFD)", errno)
	}
	return nil
}

// Notify switches what NotifyBy has set up. After switching it on, Waiting and Ready have to be
// asked once more.
func (r *Ring) Notify(on bool) {
	var flags uint32 = cqEventfdDisabled
	if on {
		flags = 0
	}
	atomic.StoreUint32(r.cqFlags, flags)
}

// Close closes all direct descriptors and the ring, and unmaps it.
func (r *Ring) Close() {
	// Closing the ring alone would close the sockets some time later, on a thread of the kernel.
	register(r.fd, unregisterFiles, nil, 0)
	unix.Close(r.fd)
	for _, m := range [][]byte{r.queues, r.entries} {
		if m != nil {
			unix.Munmap(m)
		}
	}
	*r = Ring{fd: -1}
}

// Map gives n bytes of zeroed memory outside of Go's heap, which nothing moves or frees.
func Map(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mmap of %d bytes: %w", n, err)
	}
	return b, nil
}

// Unmap frees what Map gave; nil is ignored.
func Unmap(b []byte) {
	if b != nil {
		unix.Munmap(b)
	}
}

func setup(entries uint32, p *params) (int, unix.Errno) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries),
		uintptr(unsafe.Pointer(p)), 0)
	return int(fd), errno
}

func register(fd int, op uintptr, arg unsafe.Pointer, n uintptr) (int, unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), op, uintptr(arg), n, 0, 0)
	return int(r), errno
}
