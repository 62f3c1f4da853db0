package looptest

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"derpd/netpoll"
)

// badLoop is a backend whose turns are played by the test.
type badLoop struct {
	netpoll.Loop
	now      int64
	inClose  func()
	keepSend bool
}

func (l *badLoop) ID() int                                  { return 0 }
func (l *badLoop) Now() int64                               { return l.now }
func (l *badLoop) Send(netpoll.Handle, []byte) bool         { return !l.keepSend }
func (l *badLoop) PauseReceive(netpoll.Handle)              {}
func (l *badLoop) SetTimeout(netpoll.Handle, time.Duration) {}
func (l *badLoop) Close(netpoll.Handle) {
	if l.inClose != nil {
		l.inClose()
	}
}

// play is what a misdeed has at hand.
type play struct {
	*Checker
	bad *badLoop
}

// in runs fn as a handler method would.
func (k play) in(fn func()) {
	k.inEvent = true
	fn()
	k.inEvent = false
}

// Each backend misdeed is found, and named.
func TestCheckerFinds(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.9:9")
	one, reused := netpoll.MakeHandle(0, 0, 1), netpoll.MakeHandle(0, 0, 2)
	reset := errors.New("reset")
	buf := []byte("abcdef")
	for want, misdeed := range map[string]func(play){
		"": func(k play) {
			k.in(func() { k.Close(one) })
			k.Flush()
			k.Closed(one, nil)
			k.Flush()
			k.Accepted(reused, 0, peer)
			k.Received(reused, buf)
			k.Closed(reused, reset)
		},
		"not open":        func(k play) { k.Received(reused, buf) },
		"has not ended":   func(k play) { k.Accepted(reused, 0, peer) },
		"start of a turn": func(k play) { k.Woken() },
		"without error":   func(k play) { k.Closed(one, nil) },
		"without a Send":  func(k play) { k.Sent(one, buf, 6, nil) },
		"has none set":    func(k play) { k.Timeout(one) },
		"not connecting":  func(k play) { k.Connected(one, nil) },
		"neither Closed":  func(k play) {},
		"outside of":      func(k play) { k.Close(one) },
		"inside another":  func(k play) { k.in(k.Flush) },
		"from inside Loop": func(k play) {
			k.bad.inClose = k.Flush
			k.in(func() { k.Close(one) })
		},
		"a second time": func(k play) {
			k.Closed(one, reset)
			k.Accepted(one, 0, peer)
		},
		"end of the stream": func(k play) {
			k.Received(one, nil)
			k.Received(one, nil)
		},
		"overlaps": func(k play) {
			k.Received(one, buf[:4])
			k.Received(one, buf[3:])
		},
		"after Close": func(k play) {
			k.in(func() { k.Close(one) })
			k.Received(one, buf)
		},
		"after PauseReceive": func(k play) {
			k.in(func() { k.PauseReceive(one) })
			k.Received(one, buf[:1])
			k.Received(one, buf[1:])
		},
		"early": func(k play) {
			k.in(func() { k.SetTimeout(one, time.Second) })
			k.bad.now = int64(time.Second) - 1
			k.Timeout(one)
		},
		"another buffer": func(k play) {
			k.bad.keepSend = true
			k.in(func() { k.Send(one, buf[:3]) })
			k.Sent(one, buf[3:], 3, nil)
		},
		"2 of 6 bytes": func(k play) {
			k.bad.keepSend = true
			k.in(func() { k.Send(one, buf) })
			k.Sent(one, buf, 2, nil)
		},
		"before Sent": func(k play) {
			k.bad.keepSend = true
			k.in(func() { k.Send(one, buf) })
			k.Closed(one, reset)
		},
		"failed Sent": func(k play) {
			k.bad.keepSend = true
			k.in(func() { k.Send(one, buf) })
			k.Sent(one, buf, 2, reset)
			k.Received(one, buf)
		},
	} {
		var found []string
		l := &badLoop{}
		k := NewChecker(l, func(format string, args ...any) {
			found = append(found, fmt.Sprintf(format, args...))
		})
		rec := &recorder{conns: make(map[netpoll.Handle]*seen)}
		k.Attach(rec)
		k.Accepted(one, 0, peer)
		misdeed(play{k, l})
		k.Finish()
		all := strings.Join(found, "\n")
		if !strings.Contains(all, want) || want == "" && all != "" {
			t.Errorf("want %q, found %q", want, all)
		}
	}
}
