package fakepoll

import (
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"derpd/netpoll"
)

// event is what the trace and the log tell apart.
type event uint8

const (
	eventTurn event = iota
	eventWoken
	eventAccepted
	eventAcceptFailed
	eventConnected
	eventReceived
	eventSend // bytes taken by the kernel
	eventSent
	eventClosed
	eventTimeout
	eventFlush
	eventEnded // the loop
)

var eventNames = [...]string{
	"turn", "woken", "accepted", "accept failed", "connected", "received", "send", "sent",
	"closed", "timeout", "flush", "ended",
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is how a buffer in flight is recognised again.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// record is what a world remembers of its past.
type record struct {
	hash uint64
	out  io.Writer

	mu         sync.Mutex // violations may be found on a foreign goroutine
	violations []string
}

func (r *record) mix(x uint64) {
	r.hash = (r.hash ^ x) * 0x9e3779b97f4a7c15
	r.hash ^= r.hash >> 29
}

// note adds an event: of loop l, about h (or 0), with n bytes or a number, their content if
// it has one, and an error.
func (w *World) note(e event, l *Loop, h netpoll.Handle, n int, b []byte, err error) {
	r := &w.record
	r.mix(uint64(e)<<56 | uint64(l.id)<<48 | uint64(uint32(n)))
	r.mix(uint64(h))
	r.mix(uint64(w.now)<<32 ^ uint64(checksum(b)))
	if err != nil {
		r.mix(uint64(checksum([]byte(err.Error()))))
	}
	if r.out == nil {
		return
	}
	fmt.Fprintf(r.out, "%12v loop %d %-13s %#x n=%d", w.now, l.id, eventNames[e], uint64(h), n)
	if err != nil {
		fmt.Fprintf(r.out, " (%v)", err)
	}
	fmt.Fprintln(r.out)
}

func (r *record) violation(now time.Duration, what string) {
	line := fmt.Sprintf("%v: %s (%s)", now, what, caller())
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.violations) < violationsKept {
		r.violations = append(r.violations, line)
	}
	if r.out != nil {
		fmt.Fprintln(r.out, "VIOLATION", line)
	}
}

func (r *record) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.violations)
}

// caller is the place outside this package that led here.
func caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "netpoll/fakepoll.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "unknown place"
		}
	}
}
