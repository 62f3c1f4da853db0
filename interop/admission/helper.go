package admission

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// helper is the process inside the namespace: the control server, and tailscaled as its child.
// It is told what to do by lines on stdin ("start", "stop"), and answers each with one on stdout.
type helper struct {
	dir                string // for state and socket
	daemon, tailscale  string // programs
	friend             key.NodePublic
	controlURL, socket string

	cmd    *exec.Cmd
	exited chan struct{}
}

// serve runs the helper until stdin ends.
func (h *helper) serve() error {
	if err := network(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.controlURL = "http://" + l.Addr().String()
	control := &testcontrol.Server{ExplicitBaseURL: h.controlURL, DERPMap: derpMap()}
	control.AddFakeNode() // makes the table that UpdateNode writes to
	control.UpdateNode(node(h.friend))
	go http.Serve(l, control)
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch command := in.Text(); command {
		case "start":
			err = h.start()
		case "stop":
			err = h.stop()
		default:
			err = fmt.Errorf("unknown command %q", command)
		}
		if err != nil {
			return err
		}
		fmt.Println("done")
	}
	return h.stop()
}

// network brings the namespace's loopback up, and a wire whose other end nobody listens to:
// without a default route tailscaled takes itself for offline and asks nobody anything.
func network() error {
	for _, args := range []string{
		"link set lo up",
		"link add wire type veth peer name end",
		"addr add 10.99.9.2/24 dev wire",
		"link set wire up",
		"link set end up",
		"route add default via 10.99.9.1",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %v: %s", args, err, out)
		}
	}
	return nil
}

// derpMap has a region that nobody reaches: without any, tailscaled has no home.
func derpMap() *tailcfg.DERPMap {
	const id = 900
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{id: {
		RegionID: id, RegionCode: "none", RegionName: "None",
		Nodes: []*tailcfg.DERPNode{{Name: "900a", RegionID: id, HostName: "relay.invalid",
			IPv4: "127.0.0.1", IPv6: "none", DERPPort: 1, STUNPort: -1}},
	}}}
}

// node is a member of the tailnet beside tailscaled.
func node(k key.NodePublic) *tailcfg.Node {
	const id = 4711
	addr := netip.MustParsePrefix("100.64.47.11/32")
	return &tailcfg.Node{ID: id, StableID: "TESTFRIEND", User: id, Name: "friend.test.",
		Machine: key.NewMachine().Public(), Key: k, DiscoKey: key.NewDisco().Public(),
		MachineAuthorized: true, Addresses: []netip.Prefix{addr}, AllowedIPs: []netip.Prefix{addr}}
}

// start starts tailscaled and has it join the tailnet, as which it returns later.
func (h *helper) start() error {
	state := filepath.Join(h.dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	h.cmd = exec.Command(h.daemon, "--tun=userspace-networking", "--statedir="+state,
		"--socket="+h.socket, "--port=0", "--no-logs-no-support")
	h.cmd.Dir = h.dir
	h.cmd.Env = append(os.Environ(), "TS_LOGS_DIR="+state, "HOME="+state)
	h.cmd.Stdout, h.cmd.Stderr = os.Stderr, os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		return err
	}
	h.exited = make(chan struct{})
	go func() {
		h.cmd.Wait()
		close(h.exited)
	}()
	for deadline := time.Now().Add(readyWaitMax); ; time.Sleep(pollEvery) {
		if c, err := net.Dial("unix", h.socket); err == nil {
			c.Close()
			break
		} else if time.Now().After(deadline) {
			return fmt.Errorf("tailscaled does not listen: %v", err)
		}
	}
	out, err := exec.Command(h.tailscale, "--socket="+h.socket, "up", "--login-server="+h.controlURL,
		"--hostname=relay", "--accept-dns=false", "--netfilter-mode=off", "--timeout=25s",
	).CombinedOutput()
	if err != nil {
		return fmt.Errorf("tailscale up: %v\n%s", err, out)
	}
	return nil
}

// stop ends tailscaled, if it runs.
func (h *helper) stop() error {
	if h.cmd == nil {
		return nil
	}
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.exited:
	case <-time.After(stopWaitMax):
		h.cmd.Process.Kill()
		<-h.exited
		return fmt.Errorf("tailscaled did not end within %v", stopWaitMax)
	}
	h.cmd = nil
	return nil
}
