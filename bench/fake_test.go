package bench

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"derpd/relay/derp"
)

// The test binary is also the relay that the tests measure: a small one, in a process of its
// own, whose manners fakeMode chooses.
const fakeMode = "BENCH_TEST_RELAY"

const (
	modeGood    = "good"
	modeExit    = "exit"    // never listens
	modeDeaf    = "deaf"    // takes connections and says nothing
	modeDie     = "die"     // ends at the first packet
	modeForge   = "forge"   // delivers under another source key
	modeReplay  = "replay"  // delivers packets twice
	modeNoPong  = "nopong"  // hangs up on pings
	modeRefuse  = "refuse"  // hangs up on logins but the first
	modeShorten = "shorten" // delivers packets a byte short
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeMode); mode != "" {
		fmt.Fprintln(os.Stderr, "fake relay, mode", mode)
		fmt.Fprintln(os.Stderr, "fake relay:", fakeRelay(mode))
		os.Exit(7)
	}
	os.Exit(m.Run())
}

// fakePeer makes the relays that the test starts behave in that way.
func fakePeer(t *testing.T, mode string) Peer {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeMode, mode)
	return Peer{Name: mode, Path: exe}
}

type fake struct {
	mode  string
	key   derp.PrivateKey
	mu    sync.Mutex
	conns map[derp.Key]*fakeConn
	count int
}

type fakeConn struct {
	net.Conn
	mu sync.Mutex
}

func (c *fakeConn) send(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.Write(b)
}

func fakeRelay(mode string) error {
	fs := flag.NewFlagSet("fake", flag.ContinueOnError)
	addr := fs.String("a", "", "")
	fs.String("c", "", "")
	fs.Int("http-port", 80, "")
	fs.Bool("stun", true, "")
	certdir := fs.String("certdir", "", "")
	host := fs.String("hostname", "", "")
	certmode := fs.String("certmode", "", "")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return err
	}
	if mode == modeExit {
		return fmt.Errorf("no way to listen on %s", *addr)
	}
	key, err := derp.NewPrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	f := &fake{mode: mode, key: key, conns: map[derp.Key]*fakeConn{}}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	if *certmode == "manual" {
		name := filepath.Join(*certdir, *host)
		cert, err := tls.LoadX509KeyPair(name+".crt", name+".key")
		if err != nil {
			return err
		}
		meta, err := derp.MetaCert(key.Public(), time.Now())
		if err != nil {
			return err
		}
		cert.Certificate = append(cert.Certificate, meta)
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go f.serve(&fakeConn{Conn: c})
	}
}

func (f *fake) serve(c *fakeConn) {
	defer c.Close()
	if f.mode == modeDeaf {
		time.Sleep(time.Minute)
	}
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if req.URL.Path != "/derp" {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ngoroutine profile: total 42\n")
		return
	}
	c.send(derp.AppendServerKey(nil, f.key.Public()))
	b, err := fakeFrame(r)
	if err != nil {
		return
	}
	who, _, shared, err := derp.OpenClientInfo(f.key, b[derp.HeaderLen:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "login:", err)
		return
	}
	f.mu.Lock()
	f.conns[who] = c
	f.count++
	refused := f.mode == modeRefuse && f.count > 1
	f.mu.Unlock()
	if refused {
		return
	}
	c.send(shared.AppendServerInfo(nil, derp.ServerInfo{Version: 2}, [derp.NonceLen]byte{1}))
	c.send(derp.AppendKeepAlive(nil))
	for {
		b, err := fakeFrame(r)
		if err != nil || !f.handle(c, who, b) {
			return
		}
	}
}

func fakeFrame(r *bufio.Reader) ([]byte, error) {
	h, err := r.Peek(derp.HeaderLen)
	if err != nil {
		return nil, err
	}
	_, n, _ := derp.Header(h)
	b := make([]byte, derp.HeaderLen+n)
	for got := 0; got < len(b); {
		m, err := r.Read(b[got:])
		if err != nil {
			return nil, err
		}
		got += m
	}
	return b, nil
}

func (f *fake) handle(c *fakeConn, who derp.Key, b []byte) bool {
	payload := b[derp.HeaderLen:]
	switch kind, _, _ := derp.Header(b); kind {
	case derp.FramePing:
		if f.mode == modeNoPong {
			return false
		}
		data, _ := derp.ParsePing(payload)
		c.send(derp.AppendPong(nil, data))
	case derp.FrameSendPacket:
		to, packet, err := derp.ParseSendPacket(payload)
		if err != nil {
			return false
		}
		f.mu.Lock()
		dest := f.conns[to]
		f.mu.Unlock()
		switch f.mode {
		case modeDie:
			fmt.Fprintln(os.Stderr, "fatal: a packet came")
			os.Exit(3)
		case modeForge:
			who[0] ^= 1
		case modeShorten:
			packet = packet[:len(packet)-1]
		case modeReplay:
			dest.send(derp.AppendRecvPacket(nil, who, packet))
		}
		dest.send(derp.AppendRecvPacket(nil, who, packet))
	}
	return true
}
