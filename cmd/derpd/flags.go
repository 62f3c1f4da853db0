package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/peterbourgon/ff/v3"

	"derpd/relay/admit"
)

// config is what the flags say, checked.
type config struct {
	dev, demo, version, derp, stun bool

	addr     netip.AddrPort // of the main listener; the zero Addr is every address
	host     string         // as written in -a
	httpPort int
	stunPort int

	keyFile, certMode, certDir, hostname, home string
	meshFile, meshWith                         string

	eabKid, eabKey, acmeEmail, acmeDirectory string
	ipCerts                                  bool

	verifyClients, verifyFailOpen     bool
	verifyURL, socket, disallowedApps string
	verifyCache                       time.Duration
	acceptLimit                       float64
	acceptBurst                       int
	rateFile                          string
	ace                               bool
	dnsNames, unpublishedNames        string

	keepAlive, userTimeout, writeTimeout time.Duration
	latencyBudget                        time.Duration

	engine                                 string
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
	fs.StringVar(&addr, "a", ":443", "listen `address`; TLS if the port is 443, -certmode is "+
		"manual or self-signed, or -acme-directory is given")
	fs.IntVar(&c.httpPort, "http-port", 80, "`port` for captive-portal checks and redirects "+
		"beside TLS; -1 is off")
	fs.BoolVar(&c.derp, "derp", true, "serve DERP; false leaves STUN and the HTTP pages")
	fs.BoolVar(&c.stun, "stun", true, "serve STUN on the address of -a")
	fs.IntVar(&c.stunPort, "stun-port", 3478, "UDP `port` of STUN")
	fs.StringVar(&c.keyFile, "c", "", "key `file`, made if missing; for root the default is "+
		rootKeyFile)
	fs.StringVar(&c.certMode, "certmode", "letsencrypt", "where certificates come from: "+
		"letsencrypt, gcp, manual or self-signed")
	fs.StringVar(&c.certDir, "certdir", defaultCertDir(), "`directory` of <hostname>.crt and "+
		".key, or of the ACME cache")
	fs.StringVar(&c.hostname, "hostname", "derp.tailscale.com", "TLS host `name`, or an address "+
		"with -certmode manual")
	fs.StringVar(&c.home, "home", "", "home page: empty is the default one, blank an empty one, "+
		"a `URL` a redirect")
	c.certFlags(fs)
	c.accessFlags(fs)
	fs.StringVar(&c.meshFile, "mesh-psk-file", defaultMeshFile(), "`file` of the region's mesh "+
		"key, 64 hexadecimal digits")
	fs.StringVar(&c.meshWith, "mesh-with", "", "the other nodes of the region: `names` separated "+
		"by commas, name/dialhost to dial another host; the own name is skipped")
	fs.DurationVar(&c.keepAlive, "tcp-keepalive-time", 10*time.Minute, "idle `time` before TCP "+
		"keepalive probes; 0 is 15s, below 0 is off")
	fs.DurationVar(&c.userTimeout, "tcp-user-timeout", 15*time.Second, "how long sent data may "+
		"stay unacknowledged; 0 is the kernel's default")
	fs.DurationVar(&c.writeTimeout, "tcp-write-timeout", 2*time.Second, "how long a client may "+
		"take nothing before it is cut; 0 is for ever")

	fs.StringVar(&c.engine, "engine", engineAuto, "what the event loops run on: io_uring, epoll, or "+
		"auto for io_uring where the kernel allows it")
	fs.IntVar(&c.loops, "loops", 0, "event loops; 0 is one for each CPU that it may use")
	fs.IntVar(&c.workers, "workers", 0, "goroutines for handshakes and logins; 0 is one for "+
		"each CPU that it may use")
	fs.DurationVar(&c.latencyBudget, "latency-budget", 400*time.Microsecond, "how long a "+
		"packet or STUN request may wait for others at most, while so many come that they share "+
		"the cost; more than a fifth of it only where the processor gets scarce and sleeps are "+
		"dear; 0 is not at all")
	fs.IntVar(&c.maxConnections, "max-connections", 1_000_000, "TCP connections at most")
	fs.IntVar(&c.maxHandshakes, "max-handshakes", 4096, "TLS handshakes in flight at most "+
		"(21 KB each)")
	fs.IntVar(&c.maxHTTP, "max-http", 1024, "connections to the HTTP pages at most, "+
		"tunnels of -ace included, and as many again to the port of -http-port; while more than "+
		"three quarters of them are open, each ends with its answer")
	fs.Int64Var(&c.preLoginBudget, "pre-login-budget", 16<<20, "`bytes` that login frames over "+
		"32 KiB may hold, of all connections together")
	fs.Int64Var(&c.queueBudget, "queue-budget", 1<<30, "`bytes` of memory that all that "+
		"waits to be sent may hold")
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
	const setec = "derpd has no setec client; put the mesh key into a file and name it with " +
		"-mesh-psk-file"
	for name, usual := range map[string]string{
		"secrets-url": "", "secrets-path-prefix": "prod/derp", "secrets-cache-dir": secretsCacheDir(),
	} {
		fs.Var(&refused{usual: usual, instead: setec}, name, "derper's; only its default is "+
			"taken here: "+setec)
	}
}

// certFlags declares what ACME needs.
func (c *config) certFlags(fs *flag.FlagSet) {
	fs.StringVar(&c.eabKid, "acme-eab-kid", "", "ACME external account binding: key `id` "+
		"(-certmode gcp, or -acme-directory)")
	fs.StringVar(&c.eabKey, "acme-eab-key", "", "ACME external account binding: HMAC `key` in "+
		"base64 (-certmode gcp, or -acme-directory)")
	fs.StringVar(&c.acmeEmail, "acme-email", "", "`address` for the ACME account")
	fs.StringVar(&c.acmeDirectory, "acme-directory", "", "ACME directory `URL`, instead of the "+
		"one of -certmode letsencrypt or gcp")
	fs.BoolVar(&c.ipCerts, "acme-ip-certs", false, "also get certificates for the addresses "+
		"that clients connect to (-certmode letsencrypt)")
}

// accessFlags declares who may connect, how fast, and what else is served to whom.
func (c *config) accessFlags(fs *flag.FlagSet) {
	fs.BoolVar(&c.verifyClients, "verify-clients", false, "admit only nodes that the local "+
		"tailscaled knows")
	fs.StringVar(&c.socket, "socket", "", "tailscaled's `socket`, for -verify-clients; empty is "+
		admit.DefaultSocket)
	fs.StringVar(&c.verifyURL, "verify-client-url", "", "admit only clients that this `URL` "+
		"allows")
	fs.BoolVar(&c.verifyFailOpen, "verify-client-url-fail-open", true, "admit clients while "+
		"-verify-client-url cannot be reached")
	fs.DurationVar(&c.verifyCache, "verify-cache", admit.DefaultCacheFor, "how long an admission "+
		"is used again for the same key; 0 is not at all")
	fs.StringVar(&c.disallowedApps, "disallow-app-names", "", "application `names`, separated by "+
		"commas, whose logins are refused")
	fs.Float64Var(&c.acceptLimit, "accept-connection-limit", math.Inf(+1), "new TLS connections "+
		"a second at most; those beyond are closed")
	fs.IntVar(&c.acceptBurst, "accept-connection-burst", math.MaxInt, "new connections that may "+
		"come at once beyond -accept-connection-limit")
	fs.StringVar(&c.rateFile, "rate-config", "", "JSON `file` of the rate that each client may "+
		"send at; read again on SIGHUP")
	fs.BoolVar(&c.ace, "ace", false, "let clients CONNECT through to the control servers of "+
		"tailscale.com")
	fs.StringVar(&c.dnsNames, "bootstrap-dns-names", "", "`names`, separated by commas, that "+
		"/bootstrap-dns tells the addresses of")
	fs.StringVar(&c.unpublishedNames, "unpublished-bootstrap-dns-names", "", "`names` that it "+
		"tells only to who asks for them")
}
