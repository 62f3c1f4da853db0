package launch

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// script writes a program that stands for a relay.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relay")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// asRelay makes the test binary a relay that takes connections, and no more.
const asRelay = "LAUNCH_TEST_AS_RELAY"

func TestMain(m *testing.M) {
	if os.Getenv(asRelay) != "" {
		listen()
	}
	os.Exit(m.Run())
}

// needExec skips a test that runs this binary again, where make test-arm64 has it emulated.
func needExec(t *testing.T) {
	t.Helper()
	if os.Getenv("TEST_EMULATED") != "" {
		t.Skip("emulated: the system cannot execute this binary once more")
	}
}

// listen is the relay: it serves TLS with the files it is given, until a SIGTERM.
func listen() {
	args := map[string]string{}
	for i := 1; i+1 < len(os.Args); i++ {
		args[os.Args[i]] = os.Args[i+1]
	}
	os.Stderr.WriteString("args " + strings.Join(os.Args[1:], " ") + "\n")
	base := filepath.Join(args["-certdir"], args["-hostname"])
	cert, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	l, err := tls.Listen("tcp", args["-a"], &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _ = c.(*tls.Conn).Handshake() }()
	}
}

func TestStartAndStop(t *testing.T) {
	needExec(t)
	r, err := Start(t.Context(), Options{Path: os.Args[0], Env: []string{asRelay + "=1"}, CPU: -1,
		Args: []string{"-more", "flags"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	target := r.Targets[0]
	c, err := tls.Dial("tcp", target.Addr.String(), &tls.Config{ServerName: target.Host,
		InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ConnectionState().PeerCertificates[0].VerifyHostname(target.Host); err != nil {
		t.Errorf("the relay shows a certificate of another name: %v", err)
	}
	c.Close()
	if r.Alive() != 1 || target.Varz != "https://"+target.Addr.String()+"/debug/varz" {
		t.Errorf("%d alive, target %+v", r.Alive(), target)
	}
	if err := r.Explain(errors.New("so it is")); !strings.Contains(err.Error(), "-more flags") ||
		!strings.Contains(err.Error(), "still run") {
		t.Errorf("Explain says %v, want what the relay logged", err)
	}
	r.Stop()
	r.Stop() // again, to no effect
	if err := syscall.Kill(target.PID, 0); err != syscall.ESRCH {
		t.Errorf("process %d after Stop: %v", target.PID, err)
	}
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is left: %v", r.dir, err)
	}
	if r.Alive() != 0 {
		t.Error("alive after Stop")
	}
}

// TestOutlivesItsContext: what is interrupted still has a drain to measure.
func TestOutlivesItsContext(t *testing.T) {
	needExec(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Start(ctx, Options{Path: os.Args[0], Env: []string{asRelay + "=1"}, CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	cancel()
	c, err := net.Dial("tcp", r.Targets[0].Addr.String())
	if err != nil || r.Alive() != 1 {
		t.Fatalf("%d alive after the context ended, %v", r.Alive(), err)
	}
	c.Close()
}

func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for want, o := range map[string]Options{
		"/nowhere/relay":      {Path: "/nowhere/relay"},
		"cannot bind, so bye": {Path: script(t, "echo cannot bind, so bye >&2; exit 3")},
		"exit status 3":       {Path: script(t, "exit 3")},
		"are more than 250":   {Path: "/bin/true", Nodes: 300},
		"leave plain out":     {Path: "/bin/true", Nodes: 2, Plain: true},
	} {
		o.CPU = -1
		r, err := Start(t.Context(), o)
		if err == nil {
			r.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start says %v, want %q", err, want)
		}
	}
}

func TestTailKeepsTheLastLines(t *testing.T) {
	var l tail
	for i := range 100 {
		if _, err := l.Write([]byte(strings.Repeat("x", i) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(l.String(), "\n")
	if len(lines) != logLinesMax || len(lines[logLinesMax-1]) != 99+2 {
		t.Errorf("%d lines, the last of %d bytes", len(lines), len(lines[len(lines)-1]))
	}
	if _, err := l.Write([]byte(strings.Repeat("y", 3*logLineBytesMax))); err != nil {
		t.Fatal(err)
	}
	if len(l.part) > 3*logLineBytesMax {
		t.Error("a line without an end is kept whole")
	}
}
