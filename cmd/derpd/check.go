package main

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strconv"
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

// latencyBudgetMax is what a relay may add without being noticed; more than 200 µs saves nothing.
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
	if c.home != "" && c.home != "blank" {
		u, err := url.Parse(c.home)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("-home %q: use blank or a URL with http:// or https://", c.home)
		}
	}
	return c.checkNumbers()
}

func (c *config) checkNumbers() error {
	for _, p := range []struct {
		name   string
		v      int
		lowest int
	}{{"-http-port", c.httpPort, -1}, {"-stun-port", c.stunPort, 0}} {
		if p.v < p.lowest || p.v > 65535 {
			return fmt.Errorf("%s %d: use a port from %d to 65535", p.name, p.v, p.lowest)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"-tcp-keepalive-time", c.keepAlive}, {"-tcp-user-timeout", c.userTimeout},
		{"-tcp-write-timeout", c.writeTimeout}, {"-status", c.status},
		{"-verify-cache", c.verifyCache}} {
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
	if c.loops == 0 {
		c.loops = runtime.NumCPU()
	}
	if c.workers == 0 {
		c.workers = runtime.NumCPU()
	}
	for _, n := range []struct {
		name       string
		v, lo, top int64
	}{
		{"-loops", int64(c.loops), 1, maxLoops}, {"-workers", int64(c.workers), 1, 1024},
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

const maxLoops = 128 // half of what a handle can name

// listenAddr reads "host:port"; an empty host is every address of both families.
func listenAddr(s string) (a netip.AddrPort, host string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return a, "", fmt.Errorf("-a %q: use [address]:port, for example :443", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return a, "", fmt.Errorf("-a %q: %q is no port from 0 to 65535", s, port)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			addrs, err := net.LookupHost(host)
			if err != nil || len(addrs) == 0 {
				return a, "", fmt.Errorf("-a %q: %q is no address of this host: use an IP "+
					"address or leave it empty for all", s, host)
			}
			ip = netip.MustParseAddr(addrs[0])
		}
	}
	return netip.AddrPortFrom(ip, uint16(n)), host, nil
}
