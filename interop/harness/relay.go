package harness

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Hostname is the name on a relay's certificate if Options name no other. Clients send it as
// SNI and dial an address.
const Hostname = "relay.interop.test"

// Options say how a relay is started. The zero value is plain HTTP, the kind of Under.
type Options struct {
	Kind     Kind     // empty: Under()
	TLS      bool     // serve TLS with a certificate of its own
	Host     string   // the address to listen on; empty: a loopback address of its own
	Hostname string   // the name on the certificate; empty: Hostname
	HTTPPort bool     // serve port 80's business on a port too (TLS only)
	Args     []string // further flags
}

// heedHangup lets programs that are started find SIGHUP as the system means it: one that was
// ignored when the tests were started (nohup) would be ignored by them too, while a handler ends
// with exec.
var heedHangup = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) })

// Relay is one running relay process.
type Relay struct {
	Kind     Kind
	TLS      bool
	Hostname string // on its certificate
	Addr     string // host:port of DERP and HTTP(S)
	STUNAddr string // host:port of STUN
	PortAddr string // host:port of the -http-port listener, empty if there is none
	Dir      string // holds the key file and the certificates
	Certs    Certs  // zero without TLS

	cmd     *exec.Cmd
	log     Log
	exited  chan struct{} // closed when the process has ended
	stopped bool          // the test ended it on purpose
}

// Start starts a relay and waits until it answers. The test's cleanup ends it, and fails the
// test if it crashed, raced or did not end.
func Start(t testing.TB, o Options) *Relay {
	t.Helper()
	r, args := Prepare(t, o)
	r.Run(t, args)
	return r
}

// Prepare chooses addresses, writes the files, and returns the flags a relay would start with.
func Prepare(t testing.TB, o Options) (*Relay, []string) {
	t.Helper()
	if o.Kind == "" {
		o.Kind = Under()
	}
	host := cmp.Or(o.Host, loopbackHost())
	r := &Relay{
		Kind: o.Kind, TLS: o.TLS, Hostname: cmp.Or(o.Hostname, Hostname),
		Dir: t.TempDir(), exited: make(chan struct{}),
	}
	r.Addr = freeAddr(t, "tcp", host)
	r.STUNAddr = freeAddr(t, "udp", host)
	args := []string{
		"-a", r.Addr,
		"-c", filepath.Join(r.Dir, "relay.key"),
		"-stun-port", port(r.STUNAddr),
	}
	httpPort := "-1"
	if o.HTTPPort {
		r.PortAddr = freeAddr(t, "tcp", host)
		httpPort = port(r.PortAddr)
	}
	args = append(args, "-http-port", httpPort)
	if o.TLS {
		r.Certs = WriteCerts(t, r.Dir, r.Hostname)
		args = append(args, "-certmode", "manual", "-certdir", r.Dir, "-hostname", r.Hostname)
	}
	return r, append(args, o.Args...)
}

// Run starts the process with the given flags and waits until its TCP ports answer.
func (r *Relay) Run(t testing.TB, args []string) {
	t.Helper()
	r.cmd = exec.Command(Build(t, string(r.Kind)), args...)
	r.cmd.Stdout = &r.log
	r.cmd.Stderr = &r.log
	r.cmd.Dir = r.Dir
	// The relay must not outlive a test binary that is killed.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	heedHangup()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() { r.finish(t) })
	r.waitReady(t, r.Addr)
	if r.PortAddr != "" { // which is opened later
		r.waitReady(t, r.PortAddr)
	}
}

func (r *Relay) waitReady(t testing.TB, addr string) {
	t.Helper()
	deadline := time.Now().Add(startWaitMax)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-r.exited:
			t.Fatalf("%s ended instead of listening on %s:\n%s", r.Kind, addr, r.log.Tail())
		case <-time.After(PollEvery):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s: %v", r.Kind, addr, err)
		}
	}
}

// finish ends the process and judges how it went.
func (r *Relay) finish(t testing.TB) {
	if !r.Alive() && !r.stopped {
		t.Errorf("%s ended during the test: %v", r.Kind, r.cmd.ProcessState)
	}
	r.Stop(t)
	said := r.log.String()
	for _, mark := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(said, mark) {
			t.Errorf("%s's log says %q", r.Kind, mark)
		}
	}
	if t.Failed() {
		t.Logf("the end of %s's log:\n%s", r.Kind, r.log.Tail())
	}
}

// Stop sends SIGTERM and waits for the end; it returns the exit code (-1 for a signal). A
// process that stays is killed and fails the test.
func (r *Relay) Stop(t testing.TB) int {
	r.stopped = true
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(stopWaitMax):
		t.Errorf("%s (pid %d) still runs %v after SIGTERM", r.Kind, r.Pid(), stopWaitMax)
		r.cmd.Process.Kill()
		<-r.exited
	}
	return r.cmd.ProcessState.ExitCode()
}

// Ended reports whether the process has ended by itself, or does within d; the test then has
// expected it.
func (r *Relay) Ended(d time.Duration) bool {
	select {
	case <-r.exited:
		r.stopped = true
		return true
	case <-time.After(d):
		return false
	}
}

// Kill ends the process as a crash does.
func (r *Relay) Kill() {
	r.stopped = true
	r.cmd.Process.Kill()
	<-r.exited
}

// Alive reports whether the process runs.
func (r *Relay) Alive() bool {
	select {
	case <-r.exited:
		return false
	default:
		return true
	}
}

// Log is what the process has written so far.
func (r *Relay) Log() string { return r.log.String() }

// Pid is the process id.
func (r *Relay) Pid() int { return r.cmd.Process.Pid }

// TLSConfig returns a client's configuration that trusts this relay only.
func (r *Relay) TLSConfig() *tls.Config {
	return &tls.Config{RootCAs: r.Certs.Pool, ServerName: r.Hostname}
}

// Dial opens a connection as far as HTTP: TCP, and TLS when the relay speaks it.
func (r *Relay) Dial(t testing.TB) net.Conn {
	t.Helper()
	c := r.DialTCP(t)
	if !r.TLS {
		return c
	}
	tc := tls.Client(c, r.TLSConfig())
	if err := tc.Handshake(); err != nil {
		t.Fatalf("TLS handshake with %s: %v", r.Kind, err)
	}
	return tc
}

// DialTCP opens a bare TCP connection that ends with the test.
func (r *Relay) DialTCP(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", r.Addr, ReplyWaitMax)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// URL returns the address of a path on the relay's main listener.
func (r *Relay) URL(path string) string {
	if r.TLS {
		return "https://" + r.Hostname + path
	}
	return "http://" + r.Addr + path
}

// HTTP returns a client for URL. It follows no redirects and shares no connections.
func (r *Relay) HTTP() *http.Client {
	return &http.Client{
		Timeout: ReplyWaitMax,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: r.Certs.Pool},
			DialContext:       r.dialContext,
		},
	}
}

func (r *Relay) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if strings.HasPrefix(addr, r.Hostname+":") {
		addr = r.Addr
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// hosts counts the loopback addresses given out, so that no two relays of a test binary share
// one, and none shares 127.0.0.1 with the ephemeral ports of the clients.
var hosts atomic.Uint32

func loopbackHost() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, n>>8&0xff, n&0xff)
}

// freeAddr returns an address on which nobody listens. No process is forked meanwhile: it would
// have a copy of the listener until its exec is done, to which a test could connect in place of its
// relay.
func freeAddr(t testing.TB, network, host string) string {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var addr net.Addr
	var err error
	if network == "udp" {
		var c net.PacketConn
		if c, err = net.ListenPacket("udp", host+":0"); err == nil {
			addr = c.LocalAddr()
			c.Close()
		}
	} else {
		var l net.Listener
		if l, err = net.Listen("tcp", host+":0"); err == nil {
			addr = l.Addr()
			l.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// Outcome is how a process that should not have started ended.
type Outcome struct {
	ExitCode int
	Stdout   string
	Stderr   string
}

// RunToEnd runs a relay that is expected to refuse its flags, and returns how it ended.
func RunToEnd(t testing.TB, kind Kind, dir string, args ...string) Outcome {
	t.Helper()
	program := Build(t, string(kind))
	ctx, cancel := context.WithTimeout(context.Background(), ReplyWaitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %q still ran after %v", kind, args, ReplyWaitMax)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
