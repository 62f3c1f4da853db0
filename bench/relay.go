package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"derpd/loadgen/host"
)

// Peer is a relay binary that takes derper's flags.
type Peer struct{ Name, Path string }

// hostName is the name in the certificate; derper refuses any other SNI.
const hostName = "bench.invalid"

// relay is one running peer. Only the goroutine that started it may use it.
type relay struct {
	target
	pid    int
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   chan struct{} // closed when the process has ended
	log    *tail
	dir    string // certificate and key file; removed by stop
}

// startRelay starts a peer on a free loopback port, bound to cpu unless that is negative, and
// returns when it has let a client log in. Whoever gets a relay must stop it; it also ends
// with ctx and with this process.
func startRelay(ctx context.Context, p Peer, plain bool, cpu int) (*relay, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	r := &relay{done: make(chan struct{}), log: &tail{}, dir: dir}
	if err := r.launch(ctx, p, plain, cpu); err != nil {
		_ = os.RemoveAll(dir) // the error to tell is the launch's
		return nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	if err := r.awaitLogin(ctx); err != nil {
		err = r.explain(fmt.Errorf("%s lets nobody in: %w", p.Path, err))
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *relay) launch(ctx context.Context, p Peer, plain bool, cpu int) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	r.addr, r.plain = "127.0.0.1:"+strconv.Itoa(port), plain
	// Without TLS the flags are those that make derper serve plain HTTP on the address of
	// -a: its -dev would move it to a fixed port on all addresses.
	args := []string{"-a", r.addr, "-c", filepath.Join(r.dir, "key"), "-http-port", "-1",
		"-stun=false", "-certdir", r.dir, "-hostname", hostName, "-certmode"}
	if plain {
		args = append(args, "letsencrypt")
	} else {
		args = append(args, "manual")
		if err := writeCertificate(r.dir, hostName); err != nil {
			return err
		}
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.cmd = exec.CommandContext(ctx, p.Path, args...)
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = stopWaitMax
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	// A process group of its own keeps Ctrl-C from the terminal for us to pass on.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := host.OnCPU(cpu, r.cmd.Start); err != nil {
		r.cancel()
		return err
	}
	r.pid = r.cmd.Process.Pid
	go func() {
		defer close(r.done)
		if err := r.cmd.Wait(); err != nil {
			fmt.Fprintf(r.log, "[ended: %v]\n", err)
		} else {
			fmt.Fprintln(r.log, "[ended by itself, status 0]")
		}
	}()
	return nil
}

func (r *relay) awaitLogin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWaitMax)
	defer cancel()
	for {
		c, err := login(ctx, &r.target, 0)
		if err == nil {
			c.close()
			return nil
		}
		select {
		case <-r.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// explain adds to an error what only the process can tell: whether it still runs and the last
// lines it logged.
func (r *relay) explain(err error) error {
	state := "still runs"
	select {
	case <-r.done:
		state = "has ended"
	case <-time.After(100 * time.Millisecond): // a crash and its broken connections race
	}
	return fmt.Errorf("%w\nthe relay %s; it last logged:\n%s", err, state, r.log)
}

func (r *relay) stop() {
	r.cancel()
	<-r.done
	_ = os.RemoveAll(r.dir) // what is left lies in the system's temporary folder
}

// goroutines asks the relay's /debug/pprof; 0 means it did not tell.
func (r *relay) goroutines() int {
	scheme := "https"
	if r.plain {
		scheme = "http"
	}
	t := &http.Transport{TLSClientConfig: r.tlsConfig(), DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	c := http.Client{Transport: t, Timeout: loginWaitMax}
	res, err := c.Get(scheme + "://" + r.addr + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	var n int
	b, _ := io.ReadAll(io.LimitReader(res.Body, 200)) // a short first line parses as 0
	_, _ = fmt.Sscanf(string(b), "goroutine profile: total %d", &n)
	return n
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// writeCertificate makes a self-signed ECDSA P-256 certificate where derper's manual mode
// looks for one: dir/host.crt and dir/host.key.
func writeCertificate(dir, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host},
		DNSNames:  []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	crt, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		suffix, kind string
		der          []byte
	}{{".crt", "CERTIFICATE", crt}, {".key", "EC PRIVATE KEY", secret}} {
		b := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		if err := os.WriteFile(filepath.Join(dir, host+f.suffix), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// target is where clients connect to.
type target struct {
	addr  string
	plain bool
}

// tlsConfig asks for one record a write from the first byte on: Go's small first records
// would split the frames of the one-frame-a-write form.
func (t *target) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: hostName, InsecureSkipVerify: true,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true}
}

// tail keeps the last lines written to it. Any goroutine may write.
type tail struct {
	mu    sync.Mutex
	lines []string
	part  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, b...)
	for {
		i := bytes.IndexByte(t.part, '\n')
		if i < 0 && len(t.part) < logLineBytesMax {
			return len(b), nil
		}
		if i < 0 {
			i = len(t.part) - 1
		}
		t.lines = append(t.lines, string(t.part[:i]))
		t.lines = t.lines[max(0, len(t.lines)-logLinesMax):]
		t.part = append(t.part[:0], t.part[i+1:]...)
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return "  (nothing)"
	}
	return "  " + strings.Join(t.lines, "\n  ")
}
