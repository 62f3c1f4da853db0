package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"time"

	"derpd/netpoll"
)

// presets applies what -dev and -demo imply, where no flag says otherwise.
func (c *config) presets(given map[string]bool, addr *string) {
	preset := func(name string, set func()) {
		if !given[name] {
			set()
		}
	}
	switch {
	case c.demo:
		preset("a", func() { *addr = "127.0.0.1:3443" })
		preset("certmode", func() { c.certMode = "self-signed" })
		preset("hostname", func() { c.hostname = "127.0.0.1" })
		preset("http-port", func() { c.httpPort = -1 })
		preset("status", func() { c.status = time.Second })
	case c.dev:
		preset("a", func() { *addr = ":3340" })
	}
}

const rootKeyFile = "/var/lib/derper/derper.key"

// latencyBudgetMax is what a relay may add without being noticed; twice the default saves little.
const latencyBudgetMax = time.Millisecond

// check validates and completes the configuration.
func (c *config) check(addr string) (err error) {
	if c.addr, c.host, err = listenAddr(addr); err != nil {
		return err
	}
	switch c.certMode {
	case "manual", "self-signed":
		c.tls = !c.dev
	case "letsencrypt", "gcp":
		c.tls = !c.dev && (c.addr.Port() == 443 || c.acmeDirectory != "")
	default:
		return fmt.Errorf("-certmode %q: use letsencrypt, gcp, manual or self-signed", c.certMode)
	}
	if c.keyFile == "" && !c.dev && !c.demo {
		if os.Geteuid() != 0 {
			return fmt.Errorf("no key file: name one with -c (only root has a default, %s)",
				rootKeyFile)
		}
		c.keyFile = rootKeyFile
	}
	if c.hostname == "" && c.tls {
		return fmt.Errorf("-hostname is empty: give the name that clients connect to")
	}
	if err := c.checkACME(); err != nil {
		return err
	}
	if c.home != "" && c.home != "blank" {
		u, err := url.Parse(c.home)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("-home %q: use blank or a URL with http:// or https://", c.home)
		}
	}
	return c.checkNumbers()
}

func (c *config) checkNumbers() error {
	if c.httpPort > 65535 {
		return fmt.Errorf("-http-port %d: use a port up to 65535, or -1 for none", c.httpPort)
	}
	if c.stunPort < 0 || c.stunPort > 65535 {
		return fmt.Errorf("-stun-port %d: use a port from 0 to 65535", c.stunPort)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"-tcp-user-timeout", c.userTimeout}, {"-tcp-write-timeout", c.writeTimeout},
		{"-status", c.status}, {"-verify-cache", c.verifyCache}} {
		if d.v < 0 {
			return fmt.Errorf("%s %v: use a duration like 15s, or 0", d.name, d.v)
		}
	}
	if c.latencyBudget < 0 || c.latencyBudget > latencyBudgetMax {
		return fmt.Errorf("-latency-budget %v: use a duration from 0 to %v", c.latencyBudget,
			latencyBudgetMax)
	}
	if !(c.acceptLimit > 0) { // NaN neither
		return fmt.Errorf("-accept-connection-limit %v: use a number above 0, or +Inf for no limit",
			c.acceptLimit)
	}
	switch c.engine {
	case engineAuto, string(netpoll.EngineEpoll), string(netpoll.EngineURing):
	default:
		return fmt.Errorf("-engine %q: use auto, epoll or io_uring", c.engine)
	}
	processors := runtime.GOMAXPROCS(0) // what a container may use, not what its host has
	if c.loops == 0 {
		c.loops = min(processors, maxLoops)
	}
	if c.workers == 0 {
		c.workers = min(processors, maxWorkers)
	}
	for _, n := range []struct {
		name       string
		v, lo, top int64
	}{
		{"-loops", int64(c.loops), 1, maxLoops}, {"-workers", int64(c.workers), 1, maxWorkers},
		{"-max-connections", int64(c.maxConnections), 1, 1 << 24},
		{"-max-handshakes", int64(c.maxHandshakes), 1, 1 << 20},
		{"-max-http", int64(c.maxHTTP), 1, 1 << 20},
		{"-accept-connection-burst", int64(c.acceptBurst), 1, math.MaxInt},
		{"-pre-login-budget", c.preLoginBudget, 1 << 20, 1 << 40},
		{"-queue-budget", c.queueBudget, 1 << 20, 1 << 44},
	} {
		if n.v < n.lo || n.v > n.top {
			return fmt.Errorf("%s %d: use a number from %d to %d", n.name, n.v, n.lo, n.top)
		}
	}
	return nil
}

const (
	maxLoops   = 128 // half of what a handle can name
	maxWorkers = 1024
)

// keepAliveTime is the idle time before TCP probes a client, as derper reads its flag: below 0
// there are no probes, and 0 is Go's own time (net.ListenConfig.KeepAlive).
func (c *config) keepAliveTime() time.Duration {
	switch {
	case c.keepAlive < 0:
		return 0
	case c.keepAlive == 0:
		return 15 * time.Second
	}
	return c.keepAlive
}

// listenAddr reads "host:port" as derper's net.Listen does: an empty host and 0.0.0.0 are every
// address of both families, of a name's addresses the first of IPv4 is taken if there is one, and a
// port may be a service's name.
func listenAddr(s string) (a netip.AddrPort, host string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return a, "", fmt.Errorf("-a %q: use [address]:port, for example :443", s)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil || port == "" {
		return a, "", fmt.Errorf("-a %q: %q is no port from 0 to 65535 nor a service's name", s, port)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = hostAddr(host); err != nil {
			return a, "", fmt.Errorf("-a %q: %q is no address of this host: use an IP address or "+
				"leave it empty for all", s, host)
		}
	}
	return netip.AddrPortFrom(ip, uint16(n)), host, nil
}

// hostAddr is the address that a host of -a stands for.
func hostAddr(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip == netip.IPv4Unspecified() {
			ip = netip.IPv6Unspecified()
		}
		return ip, nil
	}
	all, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range all {
		if ip.Unmap().Is4() {
			return ip.Unmap(), nil
		}
	}
	return all[0], nil // an answer without addresses is an error
}
