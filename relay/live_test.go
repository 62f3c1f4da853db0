package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// patience is how long a test waits for what must happen; generous, since machines are busy.
const patience = 10 * time.Second

// liveRelay is a relay on real loops and sockets.
type liveRelay struct {
	*Server
	addr   string
	secure bool
	loops  []netpoll.Runner
	ended  chan error
	once   sync.Once
}

var liveCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"},
		DNSNames: []string{"relay.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// onEngines runs a test on every engine of netpoll that this machine allows.
func onEngines(t *testing.T, run func(t *testing.T)) {
	t.Run(string(netpoll.EngineEpoll), run)
	if err := netpoll.ProbeURing(); err != nil {
		t.Run(string(netpoll.EngineURing), func(t *testing.T) { t.Skip(err) })
		return
	}
	t.Run(string(netpoll.EngineURing), run)
}

// engineOf is what the subtest of onEngines runs on.
func engineOf(t *testing.T) netpoll.Engine {
	if strings.Contains(t.Name(), "/"+string(netpoll.EngineURing)) {
		return netpoll.EngineURing
	}
	return netpoll.EngineEpoll
}

// startLive starts a relay with two loops on loopback. It ends with the test, which fails if
// goroutines of it remain.
func startLive(t *testing.T, secure bool, cfg Config) *liveRelay {
	t.Helper()
	before := relayGoroutines()
	const loops = 2
	// A loop that sleeps briefly keeps its processor of Go's scheduler: others must be left for the
	// test, or each step of it waits until the scheduler takes one away.
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(procs + loops)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	if secure {
		engine, err := tlsengine.NewServer(&tls.Config{
			Certificates: []tls.Certificate{liveCert()}, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.NewHandshake = func(local, remote net.Addr) Handshaker {
			return engine.New(local, remote)
		}
	}
	cfg.Key = testKey(0)
	lns, err := netpoll.Listen(netip.MustParseAddrPort("127.0.0.1:0"), loops,
		netpoll.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &liveRelay{Server: New(cfg), addr: lns[0].Addr().String(), secure: secure,
		ended: make(chan error, loops)}
	var handlers []netpoll.Handler
	for i := range loops {
		l, err := engineOf(t).New(i, netpoll.Config{Listeners: lns[i : i+1]})
		if err != nil {
			t.Fatal(err)
		}
		r.loops = append(r.loops, l)
		handlers = append(handlers, r.Attach(l, loops))
		r.Server.loops[i].crowdMin = 0
		r.Server.loops[i].stalled = math.MaxInt64
		r.Server.loops[i].ageMax = int64(time.Hour) // or a machine that stalls would drop packets
	}
	for i, l := range r.loops {
		go func() { r.ended <- l.Run(handlers[i]) }()
	}
	t.Cleanup(func() {
		r.halt(t)
		waitFor(t, "the relay's goroutines to end", func() bool {
			return relayGoroutines() <= before
		})
	})
	return r
}

// halt stops the relay as its program does.
func (r *liveRelay) halt(t *testing.T) {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		for range r.loops {
			if err := <-r.ended; err != nil {
				t.Errorf("loop: %v", err)
			}
		}
		r.Server.Close()
	})
}

// relayGoroutines counts goroutines that run code of the relay, of TLS handshakes or of the
// HTTP server.
func relayGoroutines() (n int) {
	buf := make([]byte, 1<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "testing.tRunner") || strings.Contains(g, "net/http.(*persistConn)") {
			continue
		}
		for _, mark := range []string{"derpd/relay.(*", "derpd/tlsengine.", "net/http.(*",
			"derpd/netpoll."} {
			if strings.Contains(g, mark) {
				n++
				break
			}
		}
	}
	return n
}

// waitFor waits until cond holds, and fails the test if that takes too long.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// tcp opens a connection; it is closed with the test.
func (r *liveRelay) tcp(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// stream opens a connection to speak HTTP on.
func (r *liveRelay) stream(t testing.TB) net.Conn {
	t.Helper()
	c, err := r.over(r.tcp(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// over does the TLS handshake on c, if this relay speaks TLS.
func (r *liveRelay) over(c net.Conn) (net.Conn, error) {
	if !r.secure {
		return c, nil
	}
	s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	return s, s.Handshake()
}

const upgradeRequest = "GET /derp HTTP/1.1\r\nHost: relay.test\r\nUpgrade: DERP\r\n" +
	"Connection: Upgrade\r\n\r\n"

// wireClient speaks DERP over a stream.
type wireClient struct {
	net.Conn
	in  *bufio.Reader
	key derp.PrivateKey
	pub derp.Key
}

// upgrade switches a stream to DERP; the server's key has been read, ClientInfo is due.
func (r *liveRelay) upgrade(t testing.TB, c net.Conn) *wireClient {
	t.Helper()
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		t.Fatal(err)
	}
	w := &wireClient{Conn: c}
	w.readUpgraded(t, r)
	return w
}

// readUpgraded reads the answer to an upgrade and the server's key behind it.
func (w *wireClient) readUpgraded(t testing.TB, r *liveRelay) {
	t.Helper()
	w.in = bufio.NewReader(w.Conn)
	line, err := w.in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		t.Fatalf("upgrade answered %q, %v", line, err)
	}
	for line != "\r\n" {
		if line, err = w.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	kind, payload, err := w.recv()
	if err != nil || kind != derp.FrameServerKey {
		t.Fatalf("after the upgrade: %v, %v", kind, err)
	}
	if key, err := derp.ParseServerKey(payload); err != nil || key != r.Public() {
		t.Fatalf("server key %v, %v", key, err)
	}
}

// login opens a connection that is logged in with the n-th test key.
func (r *liveRelay) login(t testing.TB, n int) *wireClient {
	t.Helper()
	return r.loginOver(t, r.stream(t), n)
}

func (r *liveRelay) loginOver(t testing.TB, c net.Conn, n int) *wireClient {
	t.Helper()
	w := r.upgrade(t, c)
	w.key = testKey(n)
	w.pub = w.key.Public()
	info, shared := clientInfo(t, w.key, r.Public())
	if _, err := w.Write(info); err != nil {
		t.Fatal(err)
	}
	w.wantServerInfo(t, shared)
	return w
}

func (w *wireClient) wantServerInfo(t testing.TB, shared derp.Shared) {
	t.Helper()
	kind, payload, err := w.recv()
	if err != nil || kind != derp.FrameServerInfo {
		t.Fatalf("login answered by %v, %v", kind, err)
	}
	if _, err := shared.OpenServerInfo(payload); err != nil {
		t.Fatal(err)
	}
}

func clientInfo(t testing.TB, key derp.PrivateKey, server derp.Key) ([]byte, derp.Shared) {
	t.Helper()
	info, shared, err := derp.AppendClientInfo(nil, key, server,
		derp.ClientInfo{Version: derp.ProtocolVersion}, randomNonce())
	if err != nil {
		t.Fatal(err)
	}
	return info, shared
}

func randomNonce() (n [derp.NonceLen]byte) {
	rand.Read(n[:])
	return n
}

// recv reads a frame.
func (w *wireClient) recv() (derp.FrameType, []byte, error) {
	var h [derp.HeaderLen]byte
	if _, err := io.ReadFull(w.in, h[:]); err != nil {
		return 0, nil, err
	}
	kind, n, _ := derp.Header(h[:])
	payload := make([]byte, n)
	_, err := io.ReadFull(w.in, payload)
	return kind, payload, err
}

// want reads a frame and compares it with one that the derp package made.
func (w *wireClient) want(t testing.TB, frame []byte) {
	t.Helper()
	kind, payload, err := w.recv()
	got := append(derp.AppendHeader(nil, kind, len(payload)), payload...)
	if err != nil || !bytes.Equal(got, frame) {
		t.Fatalf("received %v of %d bytes (%v), want %.80x", kind, len(payload), err, frame)
	}
}

// bystanders are two clients that exchange numbered packets for as long as the test lasts.
type bystanders struct {
	rounds atomic.Int64
	failed atomic.Pointer[error]
}

// bystand starts a pair that must not notice what others do.
func (r *liveRelay) bystand(t testing.TB) *bystanders {
	t.Helper()
	a, b := r.login(t, 900_001), r.login(t, 900_002)
	p := new(bystanders)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var packet [packetBytes]byte
		for {
			select {
			case <-stop:
				return
			default:
			}
			binary.BigEndian.PutUint64(packet[:], uint64(p.rounds.Add(1)))
			for _, way := range [][2]*wireClient{{a, b}, {b, a}} {
				if err := exchange(way[0], way[1], packet[:]); err != nil {
					p.failed.Store(&err)
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		p.check(t, false)
	})
	return p
}

// exchange sends a packet and waits for it at the other side.
func exchange(from, to *wireClient, packet []byte) error {
	deadline := time.Now().Add(patience)
	from.SetDeadline(deadline)
	to.SetDeadline(deadline)
	if _, err := from.Write(derp.AppendSendPacket(nil, to.pub, packet)); err != nil {
		return err
	}
	kind, payload, err := to.recv()
	if err != nil {
		return err
	}
	if kind != derp.FrameRecvPacket || derp.Key(payload) != from.pub ||
		!bytes.Equal(payload[derp.KeyLen:], packet) {
		return fmt.Errorf("received %v of %d bytes, not the packet sent", kind, len(payload))
	}
	return nil
}

// check waits for a whole exchange that began after the call.
func (p *bystanders) check(t testing.TB, more bool) {
	t.Helper()
	at := p.rounds.Load()
	waitFor(t, "the bystanders to exchange packets", func() bool {
		return p.failed.Load() != nil || !more || p.rounds.Load() > at+2
	})
	if err := p.failed.Load(); err != nil {
		t.Fatalf("bystanders noticed: %v", *err)
	}
}

// wantEnd runs what must end one connection, for one of the reasons given, and no other.
func (r *liveRelay) wantEnd(t testing.TB, why []Reason, do func()) {
	t.Helper()
	before := r.Snapshot().Ends
	do()
	var after [reasonCount]uint64
	sum := func(e [reasonCount]uint64) (n uint64) {
		for _, v := range e {
			n += v
		}
		return n
	}
	waitFor(t, fmt.Sprintf("an end counted as %v", why), func() bool {
		after = r.Snapshot().Ends
		return sum(after) > sum(before)
	})
	for reason := range after {
		if n := after[reason] - before[reason]; n > 0 {
			if n == 1 && sum(after) == sum(before)+1 && contains(why, Reason(reason)) {
				return
			}
			t.Errorf("%d ended for %v, want one for %v", n, Reason(reason), why)
		}
	}
}

func contains(all []Reason, r Reason) bool {
	for _, a := range all {
		if a == r {
			return true
		}
	}
	return false
}
