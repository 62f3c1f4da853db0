package netpoll

import (
	"errors"
	"net/netip"
	"time"
)

// Handle names one connection of one loop for as long as it lives: loop (8 bits), slot
// (24 bits) and generation (32 bits), from the highest bit down. A slot is used again only
// after Closed was delivered for it, and then with another generation, so a handle that
// outlived its connection is recognised and never reaches the successor. Zero is no handle.
type Handle uint64

// MakeHandle packs a handle.
func MakeHandle(loop, slot int, generation uint32) Handle {
	return Handle(uint64(uint8(loop))<<56 | uint64(uint32(slot)&0xffffff)<<32 | uint64(generation))
}

// Loop returns the index of the loop that owns the connection.
func (h Handle) Loop() int { return int(h >> 56) }

// Slot returns the connection's slot in its loop. Handlers keep their own state of a
// connection in a slice indexed by it.
func (h Handle) Slot() int { return int(h >> 32 & 0xffffff) }

// Generation returns the number that tells successive users of a slot apart; never zero.
func (h Handle) Generation() uint32 { return uint32(h) }

// Why a connection ended, as given to Handler.Closed and Handler.Sent; other errors are the
// kernel's (unix.Errno).
var (
	// ErrWriteTimeout: a Send made no progress for the connection's write timeout.
	ErrWriteTimeout = errors.New("netpoll: the peer took nothing for the write timeout")
	// ErrClosed: the connection was closed by its own side before the operation ended.
	ErrClosed = errors.New("netpoll: connection closed")
	// ErrStopped: the loop ended.
	ErrStopped = errors.New("netpoll: loop stopped")
	// ErrTooMany: the loop's table of connections is full.
	ErrTooMany = errors.New("netpoll: too many connections on this loop")
)

// Handler receives the completions of one loop. Every method runs on the loop's goroutine,
// one at a time, and never from inside a call of a Loop method: what a Loop method causes
// is delivered after the handler method that called it has returned.
//
// The order of a turn: Woken (if anyone called Wake or Post since the last turn), then the
// I/O completions and timeouts in any order, then Flush exactly once, after which buffers
// given by Received are the loop's again. A turn whose receive arena is full is cut: Flush
// is called and the rest of what is ready is delivered in the next turn.
type Handler interface {
	// Accepted announces a connection that came in on the listener with that index.
	Accepted(h Handle, listener int, remote netip.AddrPort)
	// Connected ends a Connect. With an error the handle is dead and Closed does not follow.
	Connected(h Handle, err error)
	// Received gives bytes in the order of the stream. b may be written to and keeps its
	// content until Flush returns. An empty b is the end of the peer's stream (FIN), told
	// once; the connection stays open for sending until the handler closes it.
	Received(h Handle, b []byte)
	// Sent gives back a buffer for which Send returned false: wholly taken by the kernel
	// (err nil), or given up. On an error n bytes of b had been taken, and Closed follows.
	Sent(h Handle, b []byte, n int, err error)
	// Closed is the last word about a handle, after Sent of whatever was in flight. err is
	// nil if the handler's own Close ended it, otherwise why (reset, write timeout, …).
	Closed(h Handle, err error)
	// Timeout reports that the time set by SetTimeout has passed.
	Timeout(h Handle)
	// Woken is called at the start of the turn that follows a Wake, or the time of a WakeAt,
	// after posted functions.
	Woken()
	// Flush ends the turn.
	Flush()
}

// Loop is one event loop: its sockets, its timers and its one goroutine. Only Wake, Post
// and Stop may be called from elsewhere; all other methods belong to the loop's goroutine,
// that is, to handler methods and posted functions. Methods that take the handle of a
// connection that has ended do nothing.
type Loop interface {
	// ID is the loop's index, as in Handle.Loop.
	ID() int
	// Now is the monotonic time of this turn in nanoseconds since an arbitrary start that
	// all loops of a process share; read once a turn.
	Now() int64

	// Wake makes the loop run a turn soon (Handler.Woken). It costs an atomic load when a
	// wake-up is already pending and a system call only when the loop sleeps. What was
	// published before Wake is seen by Woken.
	Wake()
	// Post runs fn on the loop, in the order posted, ahead of Woken. It allocates: for
	// control, not for packets. It reports false if the loop has ended: fn will not run.
	Post(fn func()) bool
	// Leave is Post for what has time: fn runs in the loop's next turn, but the loop is not woken
	// for it. Whoever leaves something sees to a Wake (Wakes).
	Leave(fn func()) bool
	// WakeAt makes the loop run a turn, and call Woken, as soon as it is time (as Now counts),
	// replacing what was set; 0 sets nothing. It is as exact as the kernel's timers (some 50 µs
	// late when the loop sleeps), and never early. For those who send by a clock.
	WakeAt(at int64)
	// SetBusy lets the loop run turn after turn, each with its Flush, instead of sleeping when
	// nothing is ready: who waits for its bytes need not wake it. It takes a processor whole. A
	// backend without a kernel has nothing to poll and ignores it.
	SetBusy(busy bool)
	// Stop ends Run after the current turn: listeners and connections are closed, their
	// Sent and Closed delivered with ErrStopped, and posted functions run to the last.
	Stop()

	// Connect begins a connection; local may be zero (any) or have port 0. What becomes
	// of it is told by Connected. An error means no handle was taken.
	Connect(local, remote netip.AddrPort) (Handle, error)
	// Send gives b away. True: all of it was taken at once, by the kernel or as a copy that will
	// be sent even if Close follows, and b is the caller's again, no Sent follows. False: b
	// belongs to the loop until Sent. At most one Send of a connection may be in flight; another
	// before Sent is a programming error (panic). Errors of a Send never come from the call
	// itself but by Sent (if false) and Closed.
	Send(h Handle, b []byte) bool
	// Close ends the connection: Sent with ErrClosed for what is in flight, then Closed.
	Close(h Handle)
	// Reset is Close with a TCP RST (SO_LINGER 0), which leaves no TIME_WAIT behind.
	Reset(h Handle)
	// PauseReceive stops Received until ResumeReceive: TCP then holds the peer back. Bytes
	// that a backend has already taken may still be delivered once after the call.
	PauseReceive(h Handle)
	ResumeReceive(h Handle)
	// SetReceiveMax bounds how many bytes one Received of this connection gives; 0 is the
	// loop's own share. A backend whose kernel fills buffers ahead may give one buffer more.
	SetReceiveMax(h Handle, n int)
	// SetTimeout arms the connection's one timer, replacing what was set; 0 stops it. It is
	// coarse: fires up to one tick of the wheel (TimerTick) late, never early.
	SetTimeout(h Handle, d time.Duration)
	// SetWriteTimeout bounds how long a Send may go without progress; 0 is no bound.
	SetWriteTimeout(h Handle, d time.Duration)
	// LocalAddr asks the kernel for the local address of the connection.
	LocalAddr(h Handle) (netip.AddrPort, error)
	// RoundTrip is the kernel's estimate of the connection's round trip time; false if it has
	// none, or if the backend cannot ask at this time. It costs a system call: not for packets.
	RoundTrip(h Handle) (time.Duration, bool)
	// Stats returns the loop's counters so far.
	Stats() Stats
}

// TimerTick is the resolution of SetTimeout and SetWriteTimeout.
const TimerTick = 50 * time.Millisecond

// Stats counts what a loop did since it began.
type Stats struct {
	Turns        uint64 // turns run
	Sleeps       uint64 // turns that found nothing ready and blocked
	Idle         uint64 // turns run busily that found nothing ready
	Wakeups      uint64 // system calls made by others to wake this loop
	Posts        uint64 // functions run that were posted or left
	Receives     uint64 // receive system calls or completions
	ReceiveBytes uint64
	Sends        uint64 // send system calls or completions
	SendBytes    uint64
	SendBlocked  uint64 // sends that the kernel did not take whole at once
	Accepts      uint64
	AcceptErrors uint64 // accepts that failed for want of descriptors or memory
	AcceptsFull  uint64 // connections closed at once because the table was full
	Connections  int    // open now
}
