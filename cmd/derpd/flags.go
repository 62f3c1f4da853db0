package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3"
)

// config is what the flags say, checked.
type config struct {
	dev, demo, version, derp, stun bool

	addr     netip.AddrPort // of the main listener; the zero Addr is every address
	host     string         // as written in -a
	httpPort int
	stunPort int

	keyFile, certMode, certDir, hostname, home string

	keepAlive, userTimeout, writeTimeout time.Duration

	loops, workers                         int
	maxConnections, maxHandshakes, maxHTTP int
	preLoginBudget, queueBudget            int64
	status                                 time.Duration
	level                                  slog.Level
	tls                                    bool
}

const usageHead = `Usage: derpd [flags]

A DERP relay and STUN server, in place of derper. Every flag can also be set in the
environment (-http-port as DERPD_HTTP_PORT) and in a file of "flag value" lines (-config).

`

// parseFlags reads flags, environment and configuration file, in this order of precedence.
// Errors are one sentence with the value and the remedy.
func parseFlags(args []string) (*config, error) {
	var c config
	var addr, level string
	fs := flag.NewFlagSet("derpd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)

	fs.BoolVar(&c.dev, "dev", false, "development: plain HTTP on :3340 (or -a), throw-away key")
	fs.BoolVar(&c.demo, "demo", false, "demonstration on loopback: self-signed certificate, "+
		"throw-away key, the region for a DERP map, a status line a second")
	fs.BoolVar(&c.version, "version", false, "print the version and exit")
	fs.StringVar(&addr, "a", ":443", "listen `address`; TLS if the port is 443 or -certmode is "+
		"manual or self-signed")
	fs.IntVar(&c.httpPort, "http-port", 80, "`port` for captive-portal checks and redirects "+
		"beside TLS; -1 is off")
	fs.BoolVar(&c.derp, "derp", true, "serve DERP; false leaves STUN and the HTTP pages")
	fs.BoolVar(&c.stun, "stun", true, "serve STUN on the address of -a")
	fs.IntVar(&c.stunPort, "stun-port", 3478, "UDP `port` of STUN")
	fs.StringVar(&c.keyFile, "c", "", "key `file`, made if missing; for root the default is "+
		rootKeyFile)
	fs.StringVar(&c.certMode, "certmode", "letsencrypt", "where certificates come from: manual "+
		"or self-signed")
	fs.StringVar(&c.certDir, "certdir", defaultCertDir(), "`directory` of <hostname>.crt and .key")
	fs.StringVar(&c.hostname, "hostname", "derp.tailscale.com", "TLS host `name`, or an address "+
		"with -certmode manual")
	fs.StringVar(&c.home, "home", "", "home page: empty is the default one, blank an empty one, "+
		"a `URL` a redirect")
	fs.DurationVar(&c.keepAlive, "tcp-keepalive-time", 10*time.Minute, "idle `time` before TCP "+
		"keepalive probes; 0 is off")
	fs.DurationVar(&c.userTimeout, "tcp-user-timeout", 15*time.Second, "how long sent data may "+
		"stay unacknowledged; 0 is the kernel's default")
	fs.DurationVar(&c.writeTimeout, "tcp-write-timeout", 2*time.Second, "how long a client may "+
		"take nothing before it is cut; 0 is for ever")

	fs.IntVar(&c.loops, "loops", 0, "event loops; 0 is one for each CPU")
	fs.IntVar(&c.workers, "workers", 0, "goroutines for handshakes and logins; 0 is one for "+
		"each CPU")
	fs.IntVar(&c.maxConnections, "max-connections", 1_000_000, "TCP connections at most")
	fs.IntVar(&c.maxHandshakes, "max-handshakes", 4096, "TLS handshakes in flight at most "+
		"(21 KB each)")
	fs.IntVar(&c.maxHTTP, "max-http", 1024, "connections to the HTTP pages at most")
	fs.Int64Var(&c.preLoginBudget, "pre-login-budget", 16<<20, "`bytes` that login frames over "+
		"32 KiB may hold, of all connections together")
	fs.Int64Var(&c.queueBudget, "queue-budget", 1<<30, "`bytes` that all send queues may hold")
	fs.DurationVar(&c.status, "status", 0, "print a status line at this interval; 0 is off")
	fs.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	fs.String("config", "", "configuration `file`")
	refuseLater(fs)

	err := fs.Parse(args)
	if err == nil {
		fs.VisitAll(func(f *flag.Flag) { f.Value = telling{f.Value} })
		err = ff.Parse(fs, args, ff.WithEnvVarPrefix("DERPD"), ff.WithConfigFileFlag("config"),
			ff.WithConfigFileParser(ff.PlainParser))
	}
	if err == flag.ErrHelp {
		fmt.Print(usageHead)
		fs.SetOutput(os.Stdout)
		fs.PrintDefaults()
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w (derpd -help lists the flags)", err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: derpd takes flags only (see -help)",
			fs.Arg(0))
	}
	if c.version {
		return &c, nil
	}
	if err := c.level.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("-log-level %q: use debug, info, warn or error", level)
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	c.presets(given, &addr)
	return &c, c.check(addr)
}

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

// check validates and completes the configuration.
func (c *config) check(addr string) (err error) {
	if c.addr, c.host, err = listenAddr(addr); err != nil {
		return err
	}
	switch c.certMode {
	case "manual", "self-signed":
		c.tls = !c.dev
	case "letsencrypt":
		if c.tls = !c.dev && c.addr.Port() == 443; c.tls {
			return fmt.Errorf("-certmode letsencrypt is not offered by derpd %s: use manual "+
				"with the files of an ACME client, or self-signed", release)
		}
	default:
		return fmt.Errorf("-certmode %q is not offered by derpd %s: use manual or self-signed",
			c.certMode, release)
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
		{"-tcp-write-timeout", c.writeTimeout}, {"-status", c.status}} {
		if d.v < 0 {
			return fmt.Errorf("%s %v: use a duration like 15s, or 0", d.name, d.v)
		}
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

func defaultCertDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/cache"
	}
	return filepath.Join(dir, "tailscale", "derper-certs")
}

// telling adds the value to the errors of a flag: package flag does so for what stands on the
// command line, but nobody does for the environment and the configuration file.
type telling struct{ flag.Value }

func (v telling) Set(s string) error {
	if err := v.Value.Set(s); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}

// IsBoolFlag lets a flag that may stand without a value keep doing so.
func (v telling) IsBoolFlag() bool {
	b, ok := v.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// secretsCacheDir is derper's default of -secrets-cache-dir.
func secretsCacheDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "derper-secrets")
}

// refused is a flag of derper whose function this version lacks. Its default may be given;
// anything else is an error, so that nobody believes in a protection that is not there.
type refused struct {
	usual   string
	boolean bool
	instead string
}

func (r *refused) String() string { return r.usual }

// IsBoolFlag lets the flag stand without a value.
func (r *refused) IsBoolFlag() bool { return r.boolean }

func (r *refused) Set(v string) error {
	if v == r.usual {
		return nil
	}
	return fmt.Errorf("this flag of derper is not offered by derpd %s: %s", release, r.instead)
}

// refuseLater declares derper's flags that derpd does not offer.
func refuseLater(fs *flag.FlagSet) {
	const mesh = "run one node in the region"
	const admit = "restrict access with a firewall"
	for name, r := range map[string]*refused{
		"mesh-psk-file":               {instead: mesh},
		"mesh-with":                   {instead: mesh},
		"secrets-url":                 {instead: mesh},
		"secrets-path-prefix":         {usual: "prod/derp", instead: mesh},
		"secrets-cache-dir":           {usual: secretsCacheDir(), instead: mesh},
		"verify-clients":              {usual: "false", boolean: true, instead: admit},
		"verify-client-url":           {instead: admit},
		"verify-client-url-fail-open": {usual: "true", boolean: true, instead: admit},
		"socket":                      {instead: admit},
		"disallow-app-names":          {instead: admit},
		"bootstrap-dns-names":         {instead: "leave it out"},
		"unpublished-bootstrap-dns-names": {
			instead: "leave it out"},
		"accept-connection-limit": {usual: "+Inf", instead: "use -max-connections"},
		"accept-connection-burst": {usual: strconv.Itoa(1<<63 - 1),
			instead: "use -max-connections"},
		"rate-config":   {instead: "leave it out"},
		"ace":           {usual: "false", boolean: true, instead: "leave it out"},
		"acme-eab-kid":  {instead: "use -certmode manual"},
		"acme-eab-key":  {instead: "use -certmode manual"},
		"acme-email":    {instead: "use -certmode manual"},
		"acme-ip-certs": {usual: "false", boolean: true, instead: "use -certmode manual"},
	} {
		fs.Var(r, name, strings.TrimSpace("derper's; only its default is taken here: "+r.instead))
	}
}
