package tailnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"derpd/interop/harness"
)

// Node is a tailscaled in a namespace of its own.
type Node struct {
	Name string // also its namespace: "a" or "b"
	IP   string // its Tailscale address

	cli    string
	socket string
}

// StartNode starts tailscaled with a real TUN device and joins it to the tailnet.
func (w *World) StartNode(t testing.TB, name string) (*Node, error) {
	t.Helper()
	state := w.path("state-" + name)
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	n := &Node{Name: name, cli: harness.Build(t, "tailscale"), socket: w.path(name + ".sock")}
	p, err := w.Start(name, "tailscaled "+name, []string{"TS_LOGS_DIR=" + state, "HOME=" + state},
		harness.Build(t, "tailscaled"), "--tun=tailscale0", "--statedir="+state,
		"--socket="+n.socket, "--port=0", "--no-logs-no-support")
	if err != nil {
		return nil, err
	}
	err = await("tailscaled "+name, func() error {
		select {
		case <-p.exited:
			return errors.New("it ended")
		default:
		}
		_, err := os.Stat(n.socket)
		return err
	})
	if err != nil {
		return nil, err
	}
	// No firewall and no DNS: this node shares the machine's files with everything else.
	if _, err := n.tailscale("up", "--login-server="+controlURL, "--hostname="+name,
		"--accept-dns=false", "--netfilter-mode=off", "--timeout=25s"); err != nil {
		return nil, err
	}
	ip, err := n.tailscale("ip", "-4")
	n.IP = strings.TrimSpace(ip)
	return n, err
}

// tailscale runs the command line tool against this node.
func (n *Node) tailscale(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWaitMax)
	defer cancel()
	return Run(ctx, n.Name, nil, append([]string{n.cli, "--socket=" + n.socket}, args...)...)
}

// Netcheck is the part of `tailscale netcheck` that tells what the relay's STUN answered.
type Netcheck struct {
	UDP           bool             // a STUN answer came
	GlobalV4      string           // the address and port that it told
	PreferredDERP int              // the region chosen
	RegionLatency map[string]int64 // ns by region
}

// Netcheck measures the regions.
func (n *Node) Netcheck() (Netcheck, error) {
	var c Netcheck
	out, err := n.tailscale("netcheck", "--format=json")
	if err != nil {
		return c, err
	}
	// The tool may print a warning before the report.
	if i := strings.IndexByte(out, '{'); i > 0 {
		out = out[i:]
	}
	return c, json.Unmarshal([]byte(out), &c)
}

// PingThroughRelay pings another node and requires every answer to have come through DERP. It
// returns the tool's lines.
func (n *Node) PingThroughRelay(other *Node) (string, error) {
	out, err := n.tailscale("ping", "--c=5", "--timeout=5s", "--until-direct=false", other.IP)
	// Without a direct path the tool exits with status 1 after answers that are all good.
	if pongs := strings.Count(out, "via DERP(test)"); pongs != 5 {
		return out, fmt.Errorf("%d of 5 answers via DERP: %w\n%s", pongs, err, out)
	}
	return out, nil
}
