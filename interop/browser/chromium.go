package browser

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"derpd/interop/harness"
)

// Browser is one headless Chromium.
type Browser struct {
	cmd    *exec.Cmd
	log    harness.Log // what Chromium says, and what pages say on their console
	tools  *devTools
	exited chan struct{} // closed when the process has ended
}

// Start starts Chromium. It finds the relay by the name on its certificate, trusts that one
// certificate, and looks up no other name. The test's cleanup ends it.
func Start(t testing.TB, relay *harness.Relay) *Browser {
	t.Helper()
	profile := t.TempDir()
	fromUs, toBrowser := pipe(t)
	fromBrowser, toUs := pipe(t)
	b := &Browser{exited: make(chan struct{})}
	b.cmd = exec.Command("chromium", flags(t, profile, relay)...)
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	b.cmd.Env = append(os.Environ(), "HOME="+profile) // crash reports and caches go there too
	b.cmd.ExtraFiles = []*os.File{fromUs, toUs}       // descriptors 3 and 4
	// A group of its own, so that its children can be ended with it; and it must not
	// outlive a test binary that is killed.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromUs.Close()
	toUs.Close()
	b.tools = newDevTools(toBrowser, fromBrowser, &b.log)
	go func() {
		b.cmd.Wait()
		close(b.exited)
	}()
	t.Cleanup(func() { b.stop(t) })
	return b
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func flags(t testing.TB, profile string, relay *harness.Relay) []string {
	return []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-quic", "--disable-breakpad", "--disable-dev-shm-usage", "--no-proxy-server",
		"--log-level=3", // only what is fatal: without a desktop it misses D-Bus all the time
		"--remote-debugging-pipe", "--user-data-dir=" + profile,
		"--host-resolver-rules=MAP " + relay.Hostname + " " + relay.Addr +
			", MAP * ~NOTFOUND, EXCLUDE 127.*",
		"--ignore-certificate-errors-spki-list=" + spki(t, relay),
	}
}

// spki is the SHA-256 of the public key on a relay's certificate, as Chromium wants it.
func spki(t testing.TB, relay *harness.Relay) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(relay.Certs.Dir, relay.Hostname+".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// stop asks Chromium to end, and kills what is left of its process group. It waits until all
// are gone, for they write to the profile.
func (b *Browser) stop(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), quitMax)
	defer cancel()
	b.tools.call(ctx, "", "Browser.close", nil, nil)
	select {
	case <-b.exited:
	case <-ctx.Done():
	}
	group := b.cmd.Process.Pid
	syscall.Kill(-group, syscall.SIGKILL)
	<-b.exited
	for deadline := time.Now().Add(killedMax); alive(t, group); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Errorf("processes of group %d still run %v after SIGKILL", group, killedMax)
			break
		}
	}
	b.tools.close()
	if t.Failed() {
		t.Logf("what Chromium and the page said:\n%s", strings.TrimSpace(b.log.Tail()))
	}
}

// alive reports whether a process of the group runs. Dead ones may stay in the list for as
// long as the container's first process, which inherits them, does not ask for them.
func alive(t testing.TB, group int) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		// pid (name) state parent group …, where a name may hold anything (proc(5)).
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" && f[0] != "X" {
			return true
		}
	}
	return false
}
