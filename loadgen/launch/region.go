package launch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/scrape"
)

// Options say what to run.
type Options struct {
	Path  string   // of the binary
	Args  []string // behind the flags that Start chooses
	Env   []string // beside this process's
	Nodes int      // of the region; 0: 1
	Plain bool     // TCP without TLS; then there is no mesh
	CPU   int      // processor for all nodes; negative: any
	STUN  bool     // on a free UDP port
}

// Region is a set of running relays.
type Region struct {
	Targets  []loadgen.Target
	STUNPort uint16 // of the first node; 0: none

	nodes []*node
	dir   string
}

// node is one process.
type node struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	done   chan struct{} // closed when the process has ended
	log    *tail
}

// Start runs the nodes and returns when each takes connections and they have found each other. ctx
// bounds only that: a run that is interrupted still wants its relays, until Stop. The error quotes
// the last lines that a node logged.
func Start(ctx context.Context, o Options) (*Region, error) {
	o.Nodes = max(o.Nodes, 1)
	switch {
	case o.Nodes > nodesMax:
		return nil, fmt.Errorf("%d relays are more than %d", o.Nodes, nodesMax)
	case o.Nodes > 1 && o.Plain:
		return nil, errors.New("nodes of a region dial each other over TLS: leave plain out")
	}
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return nil, fmt.Errorf("the relay to start: %w", err)
	}
	if o.Path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	r := &Region{}
	if r.dir, err = os.MkdirTemp("", "relays-"); err != nil {
		return nil, err
	}
	if err := r.start(ctx, o); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *Region) start(ctx context.Context, o Options) error {
	port, err := freePort("tcp", nodeAddr(0))
	if err != nil {
		return err
	}
	if o.STUN {
		if r.STUNPort, err = freePort("udp", nodeAddr(0)); err != nil {
			return err
		}
	}
	files, err := r.files(o.Nodes)
	if err != nil {
		return err
	}
	for i := range o.Nodes {
		addr := netip.AddrPortFrom(nodeAddr(i), port)
		n, err := launch(ctx, o, r.args(o, i, addr, files), files)
		if err != nil {
			return fmt.Errorf("start %s: %w", o.Path, err)
		}
		r.nodes = append(r.nodes, n)
		r.Targets = append(r.Targets, target(addr, nodeName(i), o.Plain, n.cmd.Process.Pid))
	}
	for i, n := range r.nodes {
		if err := n.await(ctx, r.Targets[i].Addr); err != nil {
			return r.Explain(fmt.Errorf("%s does not come up: %w", o.Path, err))
		}
	}
	return r.awaitMesh(ctx)
}

// awaitMesh returns when each node watches all others. A node whose first call came too early tries
// again after 5 s.
func (r *Region) awaitMesh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meshWaitMax)
	defer cancel()
	for _, t := range r.Targets {
		for len(r.Targets) > 1 {
			m, err := scrape.Read(ctx, t)
			if err == nil && m.Watchers == int64(len(r.Targets)-1) {
				break
			}
			if err == nil {
				err = fmt.Errorf("node %v is watched by %d of %d others", t.Addr, m.Watchers,
					len(r.Targets)-1)
			}
			select {
			case <-ctx.Done():
				return r.Explain(fmt.Errorf("the nodes do not find each other within %v: %w",
					meshWaitMax, err))
			case <-time.After(startLook):
			}
		}
	}
	return nil
}

func target(addr netip.AddrPort, name string, plain bool, pid int) loadgen.Target {
	scheme := "https"
	if plain {
		scheme = "http"
	}
	return loadgen.Target{Addr: addr, Host: name, Plain: plain, PID: pid,
		Varz: scheme + "://" + addr.String() + "/debug/varz"}
}

func nodeAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}) }

func nodeName(i int) string { return "node" + strconv.Itoa(i+1) + ".relay.invalid" }

// args are derper's flags. Without TLS they are those that make derper serve plain HTTP on the
// address of -a: its -dev would move it to a fixed port on all addresses.
func (r *Region) args(o Options, i int, addr netip.AddrPort, files files) []string {
	args := []string{"-a", addr.String(), "-c", filepath.Join(r.dir, fmt.Sprintf("key%d", i)),
		"-http-port", "-1", "-certdir", r.dir, "-hostname", nodeName(i)}
	if o.Plain {
		args = append(args, "-certmode", "letsencrypt")
	} else {
		args = append(args, "-certmode", "manual")
	}
	if i == 0 && r.STUNPort != 0 {
		args = append(args, "-stun-port", strconv.Itoa(int(r.STUNPort)))
	} else {
		args = append(args, "-stun=false")
	}
	if o.Nodes > 1 {
		var with []string
		for k := range o.Nodes {
			if k != i {
				with = append(with, fmt.Sprintf("%s:%d/%v", nodeName(k), addr.Port(), nodeAddr(k)))
			}
		}
		args = append(args, "-mesh-psk-file", files.mesh, "-mesh-with", strings.Join(with, ","))
	}
	return append(args, o.Args...)
}

func launch(ctx context.Context, o Options, args []string, files files) (*node, error) {
	n := &node{done: make(chan struct{}), log: &tail{}}
	ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.cmd = exec.CommandContext(ctx, o.Path, args...)
	n.cmd.Env = append(append(os.Environ(), "SSL_CERT_FILE="+files.trust), o.Env...)
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	n.cmd.WaitDelay = stopWaitMax
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	// A process group of its own keeps Ctrl-C from the terminal for us to pass on.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := host.OnCPU(o.CPU, n.cmd.Start); err != nil {
		n.cancel()
		return nil, err
	}
	go func() {
		defer close(n.done)
		if err := n.cmd.Wait(); err != nil {
			fmt.Fprintf(n.log, "[ended: %v]\n", err)
		} else {
			fmt.Fprintln(n.log, "[ended by itself, status 0]")
		}
	}()
	return n, nil
}

// await returns when the relay takes connections.
func (n *node) await(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, startWaitMax)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr.String())
		if err == nil {
			return c.Close()
		}
		select {
		case <-n.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return err
		case <-time.After(startLook):
		}
	}
}

// Alive is how many of the processes run.
func (r *Region) Alive() (alive int) {
	for _, n := range r.nodes {
		select {
		case <-n.done:
		default:
			alive++
		}
	}
	return alive
}

// Explain adds to an error what only the processes can tell: which have ended, and what the first
// of those, or of all, logged last.
func (r *Region) Explain(err error) error {
	for i, n := range r.nodes {
		select {
		case <-n.done:
			return fmt.Errorf("%w\nrelay %d of %d has ended; it last logged:\n%v", err, i+1,
				len(r.nodes), n.log)
		case <-time.After(100 * time.Millisecond): // a crash and its broken connections race
		}
	}
	if len(r.nodes) == 0 {
		return err
	}
	return fmt.Errorf("%w\nthe relays still run; the first last logged:\n%v", err, r.nodes[0].log)
}

// Stop ends all processes and waits for them. A region may be stopped twice.
func (r *Region) Stop() {
	for _, n := range r.nodes {
		n.cancel()
	}
	for _, n := range r.nodes {
		<-n.done
	}
	_ = os.RemoveAll(r.dir) // what is left lies in the system's temporary folder
}

// files are what the relays read.
type files struct{ trust, mesh string }

func (r *Region) files(nodes int) (f files, err error) {
	f.trust = filepath.Join(r.dir, "trust.pem")
	f.mesh = filepath.Join(r.dir, "mesh.key")
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return f, err
	}
	if err := os.WriteFile(f.mesh, []byte(hex.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		return f, err
	}
	var names []string
	for i := range nodes {
		names = append(names, nodeName(i))
	}
	return f, writeCertificates(r.dir, names, f.trust)
}

// freePort returns a port on which nobody listens. No process is forked meanwhile: it would have a
// copy of the listener until its exec is done, and the relay could not have the port.
func freePort(network string, a netip.Addr) (uint16, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	addr := net.JoinHostPort(a.String(), "0")
	if network == "udp" {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			return 0, err
		}
		return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), c.Close()
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), l.Close()
}
