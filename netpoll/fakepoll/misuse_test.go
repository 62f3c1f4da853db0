package fakepoll_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
)

// hooks is a handler made of what a test gives it.
type hooks struct {
	loop     *fakepoll.Loop
	accepted func(h netpoll.Handle)
	received func(h netpoll.Handle, b []byte)
	sent     func(h netpoll.Handle, b []byte, n int, err error)
	closed   func(h netpoll.Handle, err error)
	timeout  func(h netpoll.Handle)
	flush    func()
	open     []netpoll.Handle
}

func (k *hooks) Accepted(h netpoll.Handle, _ int, _ netip.AddrPort) {
	k.open = append(k.open, h)
	if k.accepted != nil {
		k.accepted(h)
	}
}

func (k *hooks) Connected(netpoll.Handle, error) {}

func (k *hooks) Received(h netpoll.Handle, b []byte) {
	if k.received != nil {
		k.received(h, b)
	}
}

func (k *hooks) Sent(h netpoll.Handle, b []byte, n int, err error) {
	if k.sent != nil {
		k.sent(h, b, n, err)
	}
}

func (k *hooks) Closed(h netpoll.Handle, err error) {
	if k.closed != nil {
		k.closed(h, err)
	}
}

func (k *hooks) Timeout(h netpoll.Handle) {
	if k.timeout != nil {
		k.timeout(h)
	}
}

func (k *hooks) Woken() {}

func (k *hooks) Flush() {
	if k.flush != nil {
		k.flush()
	}
}

func attach(w *fakepoll.World, id int) *hooks {
	k := &hooks{loop: w.Loop(id, 4096)}
	w.Attach(k.loop, k)
	return k
}

func rest(w *fakepoll.World) {
	for w.Step() {
	}
}

// expectViolation fails unless exactly that kind of violation was reported.
func expectViolation(t *testing.T, w *fakepoll.World, part string) {
	t.Helper()
	vs := w.Violations()
	if len(vs) == 0 {
		t.Fatalf("no violation, want one with %q", part)
	}
	for _, v := range vs {
		if !strings.Contains(v, part) {
			t.Errorf("violation %q, want one with %q", v, part)
		}
		if !strings.Contains(v, "_test.go:") {
			t.Errorf("violation %q does not say where", v)
		}
	}
}

func TestBufferReusedBeforeSent(t *testing.T) {
	for seed := range uint64(20) {
		w := fakepoll.New(seed, fakepoll.Faults{SendBlock: 1, ShortSend: 0.5, DelayedSent: 0.5})
		k := attach(w, 0)
		b := bytes.Repeat([]byte("a"), 1000)
		k.accepted = func(h netpoll.Handle) {
			if k.loop.Send(h, b) {
				t.Fatal("Send does not block")
			}
		}
		k.flush = func() {
			if len(k.open) > 0 {
				b[999] = 'b'
			}
		}
		p := w.Dial(k.loop, 0, addr(1))
		rest(w)
		expectViolation(t, w, "before Sent")
		if len(w.Violations()) != 1 {
			t.Errorf("told %d times", len(w.Violations()))
		}
		if got := p.Read(2000); len(got) != 1000 || got[999] != 'b' {
			t.Error("the stream is not corrupted by what corrupted the buffer")
		}
	}
}

func TestBufferIsTheHandlersFromSentOn(t *testing.T) {
	w := fakepoll.New(1, fakepoll.Faults{SendBlock: 1, DelayedSent: 1})
	k := attach(w, 0)
	b := bytes.Repeat([]byte("a"), 1000)
	k.accepted = func(h netpoll.Handle) { k.loop.Send(h, b) }
	k.sent = func(_ netpoll.Handle, back []byte, _ int, _ error) { clear(back) }
	p := w.Dial(k.loop, 0, addr(1))
	rest(w)
	if got := p.Read(2000); !bytes.Equal(got, bytes.Repeat([]byte("a"), 1000)) {
		t.Error("the peer sees what the buffer became after Sent")
	}
	if vs := w.Violations(); len(vs) > 0 {
		t.Error(vs)
	}
}

func TestSecondSendPanics(t *testing.T) {
	w := fakepoll.New(1, fakepoll.Faults{SendBlock: 1})
	k := attach(w, 0)
	k.accepted = func(h netpoll.Handle) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		k.loop.Send(h, []byte("one"))
		k.loop.Send(h, []byte("two"))
	}
	w.Dial(k.loop, 0, addr(1))
	rest(w)
	expectViolation(t, w, "while another is in flight")
}

func TestReceivedBytesDieAtFlush(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	var kept []byte
	k.received = func(_ netpoll.Handle, b []byte) { kept = b }
	k.flush = func() {
		if len(kept) > 0 && string(kept) != "hello" {
			t.Error("received bytes changed before Flush returned")
		}
	}
	w.Dial(k.loop, 0, addr(1)).Write([]byte("hello"))
	rest(w)
	if !bytes.Equal(kept, []byte("\xdb\xdb\xdb\xdb\xdb")) {
		t.Errorf("kept bytes are %q after Flush", kept)
	}
	if vs := w.Violations(); len(vs) > 0 {
		t.Error(vs)
	}
}

func TestReceivedBytesWrittenAfterFlush(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	var kept []byte
	k.received = func(_ netpoll.Handle, b []byte) {
		if kept != nil {
			kept[0] = 1
		}
		kept = b
	}
	p := w.Dial(k.loop, 0, addr(1))
	for range 4 {
		p.Write([]byte("hello"))
		rest(w)
	}
	expectViolation(t, w, "written to after their Flush")
}

func TestReceivedBytesSentAfterFlush(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	var kept []byte
	k.received = func(h netpoll.Handle, b []byte) {
		if kept != nil {
			k.loop.Send(h, kept)
		}
		kept = b
	}
	p := w.Dial(k.loop, 0, addr(1))
	for range 2 {
		p.Write([]byte("hello"))
		rest(w)
	}
	expectViolation(t, w, "Send of received bytes after their Flush")
}

func TestReceivedBytesKeptBySend(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	k.received = func(h netpoll.Handle, b []byte) { k.loop.Send(h, b) }
	p := w.Dial(k.loop, 0, addr(1))
	p.Write([]byte("fits"))
	rest(w)
	if vs := w.Violations(); len(vs) > 0 || string(p.Read(10)) != "fits" {
		t.Fatal("an echo within the turn is allowed: ", vs)
	}
	p.SetWindow(2)
	p.Write([]byte("hello"))
	rest(w)
	expectViolation(t, w, "kept received bytes")
}

func TestForeignCalls(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	one, two := attach(w, 1), attach(w, 2)
	w.Dial(one.loop, 0, addr(1))
	rest(w)
	h := one.open[0]
	two.loop.Post(func() { one.loop.Close(h) })
	rest(w)
	expectViolation(t, w, "Close called in a turn of loop 2")
	two.loop.Post(func() {
		one.loop.Wake()
		one.loop.Post(func() {})
		if one.loop.ID() != 1 {
			t.Error("wrong index")
		}
	})
	rest(w)
	if n := len(w.Violations()); n != 1 || w.Stats(one.loop).Connections != 1 {
		t.Errorf("%d violations, %d connections", n, w.Stats(one.loop).Connections)
	}
}

func TestCallsThatNameTheirFault(t *testing.T) {
	for want, misuse := range map[string]func(l *fakepoll.Loop){
		"of loop 9":        func(l *fakepoll.Loop) { l.Close(netpoll.MakeHandle(9, 0, 1)) },
		"never given":      func(l *fakepoll.Loop) { l.Close(netpoll.MakeHandle(0, 77, 1)) },
		"before Connected": connectAndSend,
	} {
		w := fakepoll.New(1, fakepoll.None())
		k := attach(w, 0)
		k.accepted = func(netpoll.Handle) { misuse(k.loop) }
		w.Dial(k.loop, 0, addr(1))
		rest(w)
		expectViolation(t, w, want)
	}
	for method, call := range map[string]func(l *fakepoll.Loop){
		"Now":     func(l *fakepoll.Loop) { l.Now() },
		"Stats":   func(l *fakepoll.Loop) { l.Stats() },
		"Send":    func(l *fakepoll.Loop) { l.Send(1, []byte("x")) },
		"Connect": func(l *fakepoll.Loop) { l.Connect(netip.AddrPort{}, addr(1)) },
	} {
		w := fakepoll.New(1, fakepoll.None())
		call(attach(w, 0).loop)
		expectViolation(t, w, method+" called outside any turn")
	}
}

func connectAndSend(l *fakepoll.Loop) {
	h, err := l.Connect(netip.AddrPort{}, addr(5))
	if err == nil {
		l.Send(h, []byte("x"))
	}
}
