package tailnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"derpd/interop/harness"
)

// namePrefix begins the name of every namespace made here; the process id follows.
const namePrefix = "derpd-tailnet-"

// The addresses. The relay's is on its loopback, so it is the same from both sides.
const (
	relayIP    = "10.99.0.1"
	controlURL = "http://" + relayIP
	relayName  = "relay.tailnet.test"
)

// World is a set of namespaces and the processes in them.
//
//	node a ── veth 10.99.1.0/24 ── relay (10.99.0.1, forwards nothing) ── 10.99.2.0/24 ── node b
type World struct {
	Dir string // for state, sockets and certificates

	mu        sync.Mutex
	processes []*Process // in the order of their start
	spaces    []string
	closed    bool
}

// Process is a program running in a namespace.
type Process struct {
	Log harness.Log

	name   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// space returns the full name of a namespace: "relay", "a" or "b".
func space(short string) string { return fmt.Sprintf("%s%d-%s", namePrefix, os.Getpid(), short) }

// NewWorld makes the namespaces and the wires.
func NewWorld(dir string) (*World, error) {
	if err := removeStale(); err != nil {
		return nil, err
	}
	w := &World{Dir: dir}
	for _, short := range []string{"relay", "a", "b"} {
		if err := w.addSpace(short); err != nil {
			w.Close()
			return nil, err
		}
	}
	steps := [][]string{
		{"-n", space("relay"), "addr", "add", relayIP + "/32", "dev", "lo"},
	}
	for i, node := range []string{"a", "b"} {
		net := fmt.Sprintf("10.99.%d.", i+1)
		steps = append(steps,
			[]string{"-n", space("relay"), "link", "add", "to-" + node, "type", "veth",
				"peer", "name", "wire", "netns", space(node)},
			[]string{"-n", space("relay"), "addr", "add", net + "1/24", "dev", "to-" + node},
			[]string{"-n", space("relay"), "link", "set", "to-" + node, "up"},
			[]string{"-n", space(node), "addr", "add", net + "2/24", "dev", "wire"},
			[]string{"-n", space(node), "link", "set", "wire", "up"},
			// A node without a default route believes itself offline. This one leads to the
			// relay, which answers for itself and forwards nothing.
			[]string{"-n", space(node), "route", "add", "default", "via", net + "1"},
		)
	}
	for _, args := range steps {
		if _, err := command("ip", args...); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

func (w *World) addSpace(short string) error {
	if _, err := command("ip", "netns", "add", space(short)); err != nil {
		return err
	}
	w.mu.Lock()
	w.spaces = append(w.spaces, space(short))
	w.mu.Unlock()
	if _, err := command("ip", "-n", space(short), "link", "set", "lo", "up"); err != nil {
		return err
	}
	// A new namespace may inherit forwarding from the machine.
	_, err := command("ip", "netns", "exec", space(short),
		"sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
	return err
}

// removeStale deletes the namespaces of runs whose process is no more.
func removeStale() error {
	list, err := command("ip", "netns", "list")
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namePrefix)
		pid, _, _ := strings.Cut(rest, "-")
		n, err := strconv.Atoi(pid)
		if !ours || err != nil || syscall.Kill(n, 0) == nil {
			continue
		}
		if _, err := command("ip", "netns", "del", name); err != nil {
			return err
		}
	}
	return nil
}

// Start starts a program in a namespace. env is added to this process's environment.
func (w *World) Start(short, name string, env []string, args ...string) (*Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("the world is closed")
	}
	p := &Process{name: name, exited: make(chan struct{})}
	// `ip netns exec` becomes the program, so the process id is the program's own.
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", space(short)}, args...)...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = w.Dir
	p.cmd.Stdout, p.cmd.Stderr = &p.Log, &p.Log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	w.processes = append(w.processes, p)
	return p, nil
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// stop ends a process: politely, then not.
func (p *Process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopWaitMax):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// Run runs a command in a namespace to its end and returns what it printed on stdout.
func Run(ctx context.Context, short string, env []string, args ...string) (string, error) {
	args = append([]string{"netns", "exec", space(short)}, args...)
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Env = append(os.Environ(), env...)
	return output(cmd)
}

// command runs a command of this machine, bounded in time.
func command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWaitMax)
	defer cancel()
	return output(exec.CommandContext(ctx, name, args...))
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s",
			strings.Join(cmd.Args, " "), err, stderr.String(), stdout.String())
	}
	return stdout.String(), nil
}

// await calls ready until it returns nil, and gives its last error after readyWaitMax.
func await(what string, ready func() error) error {
	deadline := time.Now().Add(readyWaitMax)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		time.Sleep(pollEvery)
	}
}

// Logs returns the ends of all processes' logs, for a test that failed.
func (w *World) Logs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, p := range w.processes {
		fmt.Fprintf(&b, "── %s\n%s\n", p.name, p.Log.Tail())
	}
	return b.String()
}

// Close ends every process, the last started first, and deletes the namespaces. Calls after
// the first do nothing.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for i := len(w.processes) - 1; i >= 0; i-- {
		w.processes[i].stop()
	}
	var errs []error
	for _, name := range w.spaces {
		_, err := command("ip", "netns", "del", name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// path returns the path of a file of this world.
func (w *World) path(name string) string { return filepath.Join(w.Dir, name) }
