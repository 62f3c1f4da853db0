package bench

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen/host"
	"derpd/relay/derp"
)

// stream makes n packets as a relay would deliver them, with other frames between.
func stream(source derp.Key, size, n int) []byte {
	p := newPair(0, &client{key: source}, &client{}, 1, size)
	out := derp.AppendKeepAlive(nil)
	for i := range n {
		p.stamp(time.Duration(i))
		out = derp.AppendRecvPacket(out, source, p.batch[derp.HeaderLen+derp.KeyLen:])
		out = derp.AppendPeerGone(out, source, derp.GoneNotHere)
		out = derp.AppendHealth(out, "")
	}
	return out
}

func TestCutterAnyCuts(t *testing.T) {
	source := derp.Key{1, 2, 3}
	for _, size := range []int{stampBytes, 17, 1400, 64 << 10} {
		in := stream(source, size, 20)
		for range 20 {
			c := cutter{source: source, size: size}
			var kept []byte
			var due []time.Duration
			for b := in; len(b) > 0; {
				n := min(1+rand.IntN(2*size), len(b))
				rest, err := c.cut(append(kept, b[:n]...))
				if err != nil {
					t.Fatal(err)
				}
				kept, b = bytes.Clone(rest), b[n:]
				due = append(due, c.due...)
			}
			if len(due) != 20 || due[19] != 19 || c.last != 20 || c.skip != 0 || len(kept) > 0 {
				t.Fatalf("size %d: %d frames, last %d, %d bytes to skip, %d kept",
					size, len(due), c.last, c.skip, len(kept))
			}
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add(stream(derp.Key{}, 20, 3), 7)
	f.Add([]byte{5, 0, 0, 0, 31, 1, 2}, 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		at = max(0, min(at, len(b)))
		one, two := cutter{size: 20}, cutter{size: 20}
		rest, err := one.cut(b)
		n := len(one.due)
		if err == nil && len(rest) >= derp.HeaderLen+derp.KeyLen+stampBytes {
			t.Errorf("kept %d bytes, a whole head", len(rest))
		}
		kept, err2 := two.cut(b[:at])
		m := len(two.due)
		if err2 == nil {
			kept, err2 = two.cut(append(bytes.Clone(kept), b[at:]...))
			m += len(two.due)
		}
		if (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %v, cut at %d: %v", err, at, err2)
		}
		if err == nil && (n != m || !bytes.Equal(rest, kept) || one.skip != two.skip) {
			t.Errorf("whole: %d frames, cut at %d: %d", n, at, m)
		}
	})
}

// socketPair returns a detached wire with a tiny send buffer and the ordinary other end.
func socketPair(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if err := a.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: a, fd: -1}, b
}

// TLS goes on over a detached wire, through short writes and reads that find nothing.
func TestWireUnderTLS(t *testing.T) {
	dir := t.TempDir()
	if err := writeCertificate(dir, hostName); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(dir+"/"+hostName+".crt", dir+"/"+hostName+".key")
	if err != nil {
		t.Fatal(err)
	}
	w, other := socketPair(t)
	server := tls.Server(other, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := tls.Client(w, (&target{}).tlsConfig())
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := errors.Join(c.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	if err := w.detach(); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	buf := make([]byte, 64<<10)
	if _, err := c.Read(buf); !errors.Is(err, errNothing{}) {
		t.Fatalf("reading nothing: %v", err)
	}

	// Outwards: until the kernel takes no more; then the server reads.
	var sent int
	record := bytes.Repeat([]byte("0123456789"), 1600)
	for len(w.pending) == 0 {
		n, err := c.Write(record)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	got := make(chan error, 1)
	go func() {
		b := make([]byte, sent)
		_, err := io.ReadFull(server, b)
		if err == nil && !bytes.Equal(b, bytes.Repeat(record, sent/len(record))) {
			err = errors.New("the bytes differ")
		}
		got <- err
	}()
	eventually(t, "flush", func() bool {
		done, err := w.flush()
		if err != nil {
			t.Fatal(err)
		}
		return done
	})
	if err := <-got; err != nil {
		t.Fatal(err)
	}

	// Inwards, in pieces.
	go func() { _, _ = server.Write(record) }()
	var in []byte
	eventually(t, "receive", func() bool {
		if err := w.fill(); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := c.Read(buf[:100])
			if errors.Is(err, errNothing{}) {
				return len(in) == len(record)
			}
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, buf[:n]...)
		}
	})
	if !bytes.Equal(in, record) {
		t.Error("the bytes differ")
	}
	other.Close()
	eventually(t, "end of stream", func() bool { return w.fill() != nil })
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

func TestPace(t *testing.T) {
	p := pace{start: 100, interval: 10, senders: 3}
	if a, b := p.due(0, 0), p.due(2, 4); a != 100 || b != 100+(4*3+2)*10 {
		t.Errorf("due at %d and %d", a, b)
	}
	p.tick = time.Hour
	if now := p.now(); now != 0 {
		t.Errorf("now is %v, not yet a tick", now)
	}
}

func TestStatistics(t *testing.T) {
	if a, b, c := median(nil), median([]float64{9, 1, 5}), median([]float64{4, 1, 9, 2}); a != 0 ||
		b != 5 || c != 3 {
		t.Errorf("medians %v %v %v", a, b, c)
	}
	v := []time.Duration{1, 2, 3, 4}
	if a, b, c := percentile(v, 50), percentile(v, 99), percentile(nil, 50); a != 2 || b != 4 ||
		c != 0 {
		t.Errorf("percentiles %v %v %v", a, b, c)
	}
	s := medianStep([]Step{{Offered: 1, P99Micros: 7}, {Offered: 3, P99Micros: 9}})
	if s.Offered != 2 || s.P99Micros != 8 {
		t.Errorf("median of steps: %+v", s)
	}
}

func TestTail(t *testing.T) {
	var l tail
	for range 40 {
		_, _ = io.WriteString(&l, "one\ntw")
		_, _ = io.WriteString(&l, "o\n")
	}
	if s := l.String(); strings.Count(s, "\n") != logLinesMax-1 || !strings.HasSuffix(s, "  two") {
		t.Errorf("tail:\n%s", s)
	}
	_, _ = l.Write(bytes.Repeat([]byte("x"), 3*logLineBytesMax))
	if n := len(l.part); n >= logLineBytesMax {
		t.Errorf("%d bytes of a line kept", n)
	}
}

// The relay must really run where it was put, and the bench elsewhere, until undone.
func TestProcessors(t *testing.T) {
	var before, inside, after, child unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	if before.Count() < 2 || !before.IsSet(0) {
		t.Skip("needs two processors")
	}
	undo, err := host.AvoidCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := startRelay(t.Context(), fakePeer(t, modeGood), true, 0)
	if err != nil {
		t.Fatal(err)
	}
	err1 := unix.SchedGetaffinity(0, &inside)
	err2 := unix.SchedGetaffinity(r.pid, &child)
	r.stop()
	undo()
	err3 := unix.SchedGetaffinity(0, &after)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if inside.IsSet(0) || child.Count() != 1 || !child.IsSet(0) || after != before {
		t.Errorf("before %v, inside %v, relay %v, after %v", before, inside, child, after)
	}
}
