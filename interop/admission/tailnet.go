package admission

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/client/local"
	"tailscale.com/types/key"
)

// helperVariable, set in the environment, makes the test binary the helper; it names the
// folder, the programs and the friend's key.
const helperVariable = "DERPD_ADMISSION_HELPER"

// Tailnet is a tailscaled in a namespace of its own, and a node that it knows.
type Tailnet struct {
	Socket string          // tailscaled's
	Friend key.NodePrivate // of a node of the tailnet

	in  io.Writer
	out *bufio.Scanner
	log harness.Log
}

// StartTailnet makes the namespace and its control server; tailscaled is not started yet.
func StartTailnet(t testing.TB) *Tailnet {
	t.Helper()
	harness.Need(t, "ip")
	dir := t.TempDir()
	tn := &Tailnet{Socket: filepath.Join(dir, "tailscaled.sock"), Friend: key.NewNode()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", helperVariable, dir,
		harness.Build(t, "tailscaled"), harness.Build(t, "tailscale"), tn.Friend.Public()))
	cmd.Stderr = &tn.log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		harness.Missing(t, fmt.Sprintf("no namespace for tailscaled: %v: as root, or with "+
			"sysctl kernel.unprivileged_userns_clone=1", err))
	}
	tn.in, tn.out = in, bufio.NewScanner(out)
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the end of the namespace's log:\n%s", tn.log.Tail())
		}
	})
	tn.expect(t, "ready")
	return tn
}

// expect reads the helper's next line. It ends by itself if something takes too long.
func (tn *Tailnet) expect(t testing.TB, want string) {
	t.Helper()
	if !tn.out.Scan() || tn.out.Text() != want {
		t.Fatalf("the helper says %q (%v), want %q", tn.out.Text(), tn.out.Err(), want)
	}
}

// Start starts tailscaled and waits until it knows the friend.
func (tn *Tailnet) Start(t testing.TB) {
	t.Helper()
	fmt.Fprintln(tn.in, "start")
	tn.expect(t, "done")
	ctx, cancel := context.WithTimeout(t.Context(), readyWaitMax)
	defer cancel()
	client := local.Client{Socket: tn.Socket, UseSocketOnly: true}
	for {
		who, err := client.WhoIsNodeKey(ctx, tn.Friend.Public())
		if err == nil && who.Node.Key == tn.Friend.Public() {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("tailscaled does not know the friend: %v", err)
		}
		time.Sleep(pollEvery)
	}
}

// Stop ends tailscaled.
func (tn *Tailnet) Stop(t testing.TB) {
	t.Helper()
	fmt.Fprintln(tn.in, "stop")
	tn.expect(t, "done")
}

// runHelper is the helper's main function.
func runHelper(args string) error {
	words := strings.Fields(args)
	if len(words) != 4 {
		return fmt.Errorf("%s=%q: want four words", helperVariable, args)
	}
	h := &helper{dir: words[0], daemon: words[1], tailscale: words[2],
		socket: filepath.Join(words[0], "tailscaled.sock")}
	if err := h.friend.UnmarshalText([]byte(words[3])); err != nil {
		return err
	}
	return h.serve()
}
