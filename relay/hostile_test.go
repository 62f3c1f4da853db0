package relay

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/nacl/box"

	"derpd/relay/derp"
)

// overBoth runs a test over TLS and over plain TCP, on every engine.
func overBoth(t *testing.T, run func(t *testing.T, secure bool)) {
	for _, secure := range []bool{true, false} {
		name := "plain"
		if secure {
			name = "tls"
		}
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(t *testing.T) { run(t, secure) })
		})
	}
}

// readAll returns what the relay says until it closes. Whether it does so by FIN or, since
// it did not want to read everything, by RST is all the same.
func readAll(t testing.TB, c net.Conn) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("still open after %v, having said %.80q", patience, b)
	}
	return b
}

func clientHello() []byte {
	var hello bytes.Buffer
	c := tls.Client(&halfPipe{out: &hello}, &tls.Config{InsecureSkipVerify: true})
	c.Handshake()
	return hello.Bytes()
}

// halfPipe takes everything and answers nothing.
type halfPipe struct {
	net.Conn
	out io.Writer
}

func (p *halfPipe) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p *halfPipe) Read([]byte) (int, error)    { return 0, io.EOF }
func (p *halfPipe) Close() error                { return nil }

func tlsRecord(kind byte, body []byte) []byte {
	return append([]byte{kind, 3, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestGarbageInsteadOfTLS(t *testing.T) { onEngines(t, testGarbageInsteadOfTLS) }

func testGarbageInsteadOfTLS(t *testing.T) {
	r := startLive(t, true, Config{})
	others := r.bystand(t)
	for _, tc := range []struct {
		name  string
		bytes []byte
		fin   bool // the peer ends its stream behind it
		why   []Reason
		alert bool
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false, []Reason{EndNotTLS}, false},
		{"zeros", make([]byte, 1000), false, []Reason{EndNotTLS}, false},
		{"one byte", []byte{0x80}, false, []Reason{EndNotTLS}, false},
		{"version 2", []byte{22, 2, 0, 0, 9}, false, []Reason{EndNotTLS}, false},
		{"empty record", tlsRecord(22, nil), false, []Reason{EndNotTLS}, false},
		{"long record", []byte{22, 3, 1, 0x40, 1}, false, []Reason{EndNotTLS}, false},
		{"data first", tlsRecord(23, make([]byte, 99)), false, []Reason{EndNotTLS}, false},
		{"alert first", tlsRecord(21, []byte{2, 40}), false, []Reason{EndNotTLS}, false},
		{"no hello", tlsRecord(22, bytes.Repeat([]byte{0xff}, 200)), false,
			[]Reason{EndHandshakeFailed}, true},
		{"server hello", tlsRecord(22, []byte{2, 0, 0, 4, 3, 3, 0, 0}), false,
			[]Reason{EndHandshakeFailed}, true},
		{"half a hello", clientHello()[:100], true, []Reason{EndPeerClosed}, false},
		{"nothing", nil, true, []Reason{EndPeerClosed}, false},
		{"garbage behind the hello", append(clientHello(), make([]byte, 500)...), false,
			[]Reason{EndHandshakeFailed}, false}, // its alert is encrypted
		{"a flood behind the hello", append(clientHello(),
			bytes.Repeat(tlsRecord(20, []byte{1}), 40_000)...), false,
			[]Reason{EndHandshakeFailed, EndHandshakeBytes}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.tcp(t)
			r.wantEnd(t, tc.why, func() {
				c.Write(tc.bytes) // a flood is cut off before its end
				if tc.fin {
					c.CloseWrite()
				}
				answer := readAll(t, c)
				if tc.alert && !bytes.Contains(answer, []byte{21, 3, 3, 0, 2, 2}) &&
					!bytes.Contains(answer, []byte{21, 3, 1, 0, 2, 2}) {
					t.Errorf("no alert in the answer %x", answer)
				}
			})
			others.check(t, true)
		})
	}
	t.Run("TLS 1.1", func(t *testing.T) {
		r.wantEnd(t, []Reason{EndHandshakeFailed}, func() {
			c := tls.Client(r.tcp(t), &tls.Config{InsecureSkipVerify: true,
				MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
			wantAlert(t, c.Handshake(), 70)
		})
	})
	t.Run("reset", func(t *testing.T) {
		c := r.tcp(t)
		r.wantEnd(t, []Reason{EndPeerReset}, func() {
			c.Write(clientHello()[:50])
			waitFor(t, "the connection to be accepted", func() bool {
				return r.Snapshot().Connections == 3 // and the two bystanders
			})
			c.SetLinger(0)
			c.Close()
		})
		others.check(t, true)
	})
}

func TestStrangeRequests(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		others := r.bystand(t)
		long := strings.Repeat("a", 40<<10)
		for _, tc := range []struct {
			name, request, status string
			why                   Reason
		}{
			{"no upgrade", "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
				"426 ", EndHTTPDone},
			{"another upgrade", "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
				"Upgrade: h2c\r\n\r\n", "426 ", EndHTTPDone},
			{"POST", "POST /derp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
				"Content-Length: 3\r\n\r\nabc", "426 ", EndHTTPDone},
			{"HTTP/1.0", "GET /derp HTTP/1.0\r\nUpgrade: DERP\r\n\r\n", "426 ", EndHTTPDone},
			{"WebSocket", "GET /derp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
				"Upgrade: websocket\r\nSec-WebSocket-Protocol: derp\r\n\r\n", "426 ", EndHTTPDone},
			{"elsewhere", "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
				"Upgrade: DERP\r\n\r\n", "404 ", EndHTTPDone},
			{"no HTTP", "\x00\x01\x02\r\n\r\n", "400 ", EndHTTPDone},
			{"long header", "GET /derp HTTP/1.1\r\nHost: x\r\nX: " + long, "431 ",
				EndRequestTooLarge},
			{"long path", "GET /" + long, "431 ", EndRequestTooLarge},
			{"many headers", "GET /derp HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 8000), "431 ",
				EndRequestTooLarge},
			{"whole, but long", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nX: " +
				long[:17<<10] + "\r\n\r\n", "431 ", EndRequestTooLarge},
		} {
			t.Run(tc.name, func(t *testing.T) {
				c := r.stream(t)
				r.wantEnd(t, []Reason{tc.why}, func() {
					if _, err := io.WriteString(c, tc.request); err != nil {
						t.Fatal(err)
					}
					answer, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.HasPrefix(answer.Status, tc.status) || !answer.Close {
						t.Errorf("answered %q, close %v; want %s, close", answer.Status,
							answer.Close, tc.status)
					}
					c.Close()
				})
				others.check(t, true)
			})
		}
	})
}

// TestTornRequest: wherever a request is torn, it is understood.
func TestTornRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		key := testKey(5)
		for _, n := range []int{1, 7, 30, len(upgradeRequest) - 2, len(upgradeRequest) - 1} {
			c := r.stream(t)
			before := received(r)
			io.WriteString(c, upgradeRequest[:n])
			waitFor(t, "the first part to arrive", func() bool { return received(r) > before })
			info, shared := clientInfo(t, key, r.Public())
			c.Write(append([]byte(upgradeRequest[n:]), info...))
			w := &wireClient{Conn: c, key: key}
			w.readUpgraded(t, r)
			w.wantServerInfo(t, shared)
		}
	})
}

func received(r *liveRelay) (n uint64) {
	for _, l := range r.Snapshot().Loops {
		n += l.ReceiveBytes
	}
	return n
}

// badLogins are first frames that are refused.
func badLogins(t *testing.T, server derp.Key) map[string]struct {
	bytes []byte
	why   Reason
} {
	type bad = struct {
		bytes []byte
		why   Reason
	}
	key := testKey(77)
	good, _ := clientInfo(t, key, server)
	other, _ := clientInfo(t, key, testKey(78).Public())
	torn := bytes.Clone(good)
	torn[len(torn)-1] ^= 1
	lowOrder := bytes.Clone(good)
	clear(lowOrder[derp.HeaderLen : derp.HeaderLen+derp.KeyLen])
	header := func(kind derp.FrameType, n int) []byte { return derp.AppendHeader(nil, kind, n) }
	return map[string]bad{
		"no box":           {append(header(derp.FrameClientInfo, 55), make([]byte, 55)...), EndLoginFrame},
		"empty box":        {append(header(derp.FrameClientInfo, 56), make([]byte, 56)...), EndLoginBox},
		"too long":         {header(derp.FrameClientInfo, derp.MaxClientInfo+1), EndLoginFrame},
		"4 GB":             {header(derp.FrameClientInfo, 1<<32-1), EndLoginFrame},
		"a packet first":   {derp.AppendSendPacket(nil, server, []byte("hi")), EndLoginFrame},
		"a ping first":     {derp.AppendPing(nil, [8]byte{}), EndLoginFrame},
		"another server's": {other, EndLoginBox},
		"altered":          {torn, EndLoginBox},
		"low order":        {lowOrder, EndLoginBox},
		"no JSON":          {boxedInfo(key, server, []byte(`{"version":`)), EndLoginBox},
		"bad mesh key":     {boxedInfo(key, server, []byte(`{"meshKey":""}`)), EndLoginBox},
		"bad name":         {boxedInfo(key, server, []byte(`{"AppName":"\u0001"}`)), EndLoginBox},
	}
}

// boxedInfo is a ClientInfo frame around any text.
func boxedInfo(key derp.PrivateKey, server derp.Key, text []byte) []byte {
	nonce := randomNonce()
	pub := key.Public()
	sealed := box.Seal(nil, text, &nonce, (*[32]byte)(&server), (*[32]byte)(&key))
	f := derp.AppendHeader(nil, derp.FrameClientInfo, len(pub)+len(nonce)+len(sealed))
	return append(append(append(f, pub[:]...), nonce[:]...), sealed...)
}

func TestBadLogins(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		others := r.bystand(t)
		for name, tc := range badLogins(t, r.Public()) {
			t.Run(name, func(t *testing.T) {
				w := r.upgrade(t, r.stream(t))
				r.wantEnd(t, []Reason{tc.why}, func() {
					if _, err := w.Write(tc.bytes); err != nil {
						t.Fatal(err)
					}
					if answer := readAll(t, w); len(answer) > 0 {
						t.Errorf("answered %x", answer)
					}
				})
				others.check(t, true)
			})
		}
		t.Run("leaves before it", func(t *testing.T) {
			w := r.upgrade(t, r.stream(t))
			r.wantEnd(t, []Reason{EndPeerClosed}, func() { w.Close() })
		})
	})
}

// badFrames are what a logged-in client without the mesh key must not send.
func badFrames() map[string]struct {
	bytes []byte
	why   Reason
} {
	type bad = struct {
		bytes []byte
		why   Reason
	}
	all := map[string]bad{
		"WatchConns":    {derp.AppendWatchConns(nil), EndNotPermitted},
		"ClosePeer":     {derp.AppendClosePeer(nil, derp.Key{1}), EndNotPermitted},
		"ForwardPacket": {derp.AppendForwardPacket(nil, derp.Key{1}, derp.Key{2}, nil), EndNotPermitted},
	}
	for kind, lengths := range map[derp.FrameType][]int{
		derp.FrameSendPacket:    {0, 1, 31, derp.KeyLen + derp.MaxPacket + 1, 1<<32 - 1},
		derp.FramePing:          {0, 7, derp.MaxPing + 1, 1<<32 - 1},
		derp.FrameNotePreferred: {0, 2, 100},
		derp.FrameForwardPacket: {0, 63, 2*derp.KeyLen + derp.MaxPacket + 1},
		derp.FrameWatchConns:    {1, 1000},
		derp.FrameClosePeer:     {0, 31, 33},
		derp.FramePong:          {derp.MaxUnknown + 1},
		derp.FrameClientInfo:    {derp.MaxUnknown + 1},
		0x00:                    {derp.MaxUnknown + 1, 1<<32 - 1},
		0xff:                    {derp.MaxUnknown + 1, 1 << 31},
	} {
		for _, n := range lengths {
			body := make([]byte, min(n, 100)) // judged by the header alone
			all[fmt.Sprintf("%v of %d", kind, n)] = bad{
				append(derp.AppendHeader(nil, kind, n), body...), EndFrameLength}
		}
	}
	return all
}

func TestBadFrames(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		others := r.bystand(t)
		for name, tc := range badFrames() {
			w := r.login(t, 1)
			r.wantEnd(t, []Reason{tc.why}, func() {
				// Something good goes ahead and is still answered.
				if _, err := w.Write(derp.AppendPing(nil, [8]byte{1})); err != nil {
					t.Fatal(err)
				}
				w.want(t, derp.AppendPong(nil, [8]byte{1}))
				w.Write(tc.bytes)
				if answer := readAll(t, w); len(answer) > 0 {
					t.Errorf("%s: answered %x", name, answer)
				}
			})
			others.check(t, false)
		}
		others.check(t, true)
	})
}

// TestOddFramesAreTaken: what is odd but allowed leaves the connection as it was, in
// whatever pieces it comes.
func TestOddFramesAreTaken(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		w := r.login(t, 1)
		frame := func(kind derp.FrameType, n int) []byte {
			return append(derp.AppendHeader(nil, kind, n), make([]byte, n)...)
		}
		odd := bytes.Join([][]byte{
			frame(0x00, 0), frame(0x7f, 5), frame(0xff, derp.MaxUnknown), frame(derp.FramePong, 8),
			frame(derp.FrameClientInfo, 56), frame(derp.FrameServerKey, 40),
			frame(derp.FrameSendPacket, derp.KeyLen), frame(derp.FrameSendPacket, derp.KeyLen+derp.MaxPacket),
			frame(derp.FrameNotePreferred, 1),
		}, nil)
		tiny := frame(0x7f, 300)
		for _, stream := range []struct {
			bytes []byte
			piece int
		}{{odd, len(odd)}, {odd, 16384}, {odd, 1000}, {tiny, 3}} {
			for piece := range slices.Chunk(stream.bytes, stream.piece) {
				if _, err := w.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			ping := append(frame(derp.FramePing, derp.MaxPing)[:derp.HeaderLen],
				bytes.Repeat([]byte{9}, derp.MaxPing)...)
			if _, err := w.Write(ping); err != nil {
				t.Fatal(err)
			}
			w.want(t, derp.AppendPong(nil, [8]byte{9, 9, 9, 9, 9, 9, 9, 9}))
		}
		if n := r.Snapshot().UnknownFrames; n != 3*6+1 {
			t.Errorf("%d unknown frames counted, want %d", n, 3*6+1)
		}
	})
}

// corrupter flips a bit in the last byte of the next Write, which with crypto/tls is in the
// tag of a record.
type corrupter struct {
	net.Conn
	next atomic.Bool
}

func (c *corrupter) Write(b []byte) (int, error) {
	if c.next.Swap(false) {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
	}
	return c.Conn.Write(b)
}

func TestBadRecords(t *testing.T) { onEngines(t, testBadRecords) }

func testBadRecords(t *testing.T) {
	r := startLive(t, true, Config{})
	others := r.bystand(t)
	t.Run("wrong tag", func(t *testing.T) {
		raw := &corrupter{Conn: r.tcp(t)}
		c, err := r.over(raw)
		if err != nil {
			t.Fatal(err)
		}
		w := r.loginOver(t, c, 1)
		r.wantEnd(t, []Reason{EndBadRecord}, func() {
			raw.next.Store(true)
			w.Write(derp.AppendPing(nil, [8]byte{}))
			wantAlert(t, w.readErr(), 20)
		})
		others.check(t, true)
	})
	for name, tc := range map[string]struct {
		bytes []byte
		alert tls.AlertError
	}{
		"longer than allowed": {[]byte{23, 3, 3, 0x50, 0}, 22},
		"of another version":  {[]byte{23, 3, 1, 0, 50}, 70},
		"of another type":     {[]byte{99, 3, 3, 0, 1, 1}, 10},
		"too short":           {[]byte{23, 3, 3, 0, 3, 1, 2, 3}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			raw := r.tcp(t)
			c, err := r.over(raw)
			if err != nil {
				t.Fatal(err)
			}
			w := r.loginOver(t, c, 1)
			r.wantEnd(t, []Reason{EndBadRecord}, func() {
				raw.Write(tc.bytes)
				wantAlert(t, w.readErr(), tc.alert)
			})
			others.check(t, true)
		})
	}
	t.Run("close_notify", func(t *testing.T) {
		c := r.stream(t)
		w := r.loginOver(t, c, 1)
		r.wantEnd(t, []Reason{EndPeerClosed}, func() {
			c.(*tls.Conn).CloseWrite()
			if _, err := w.in.ReadByte(); err != io.EOF {
				t.Errorf("answered by %v, want close_notify", err)
			}
		})
	})
}

// readErr returns how the stream ends, which must be now.
func (w *wireClient) readErr() error {
	_, err := w.in.ReadByte()
	return err
}

func wantAlert(t *testing.T, err error, want tls.AlertError) {
	t.Helper()
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" ||
		strings.TrimPrefix(op.Err.Error(), "tls: ") != strings.TrimPrefix(want.Error(), "tls: ") {
		t.Errorf("answered by %v, want the alert %v", err, want)
	}
}
