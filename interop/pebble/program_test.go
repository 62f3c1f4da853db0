package pebble

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// derpd builds the relay.
func derpd(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "derpd")
	c := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/derpd")
	c.Dir = filepath.Join("..", "..")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// serve runs a program for as long as fn does, and ends it as an operator does.
func serve(t *testing.T, env, program string, args []string, fn func()) {
	t.Helper()
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), env)
	c.Stdout, c.Stderr = t.Output(), t.Output()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("derpd: %v", err)
		}
	}()
	fn()
}

// TestProgram: derpd itself, with derper's flags, gets a certificate for its name, and serves it
// again after a restart when nobody can be asked.
func TestProgram(t *testing.T) {
	t.Parallel()
	program := derpd(t)
	s := &site{tls: listen(t), http: listen(t)}
	ca := startCA(t, s, false)
	s.roots = ca.roots
	for _, l := range []io.Closer{s.tls, s.http} { // the ports are derpd's from now on
		l.Close()
	}
	dir := t.TempDir()
	args := []string{"-a", s.tls.Addr().String(), "-http-port", fmt.Sprint(port(s.http)),
		"-hostname", hostName, "-certmode", "letsencrypt", "-certdir", filepath.Join(dir, "certs"),
		"-c", filepath.Join(dir, "derper.key"), "-stun=false", "-acme-email", "operator@example.com"}
	var first []*x509.Certificate
	serve(t, "SSL_CERT_FILE="+ca.file, program, append(args, "-acme-directory", ca.directory), func() {
		waitFor(t, issueMax, func() (err error) {
			first, err = s.visit(hostName)
			return err
		})
	})
	serve(t, "SSL_CERT_FILE="+ca.file, program, append(args, "-acme-directory",
		"https://127.0.0.1:1/nobody"), func() {
		waitFor(t, startMax, func() error {
			again, err := s.visit(hostName)
			if err == nil && !again[0].Equal(first[0]) {
				t.Error("another certificate after the restart")
			}
			return err
		})
	})
}
