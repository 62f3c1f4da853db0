package front

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

// flags are derper's, with derper's defaults; those of features that no baseline has must be
// turned off, as the load generator does.
type flags struct {
	addr, keyFile, certDir, certMode, host string
	httpPort, stunPort                     int
	stun                                   bool
}

const taken = "a baseline takes -a, -c, -certdir, -certmode, -hostname, -http-port=-1 and " +
	"-stun=false (gnet: -stun-port), as loadgen gives them, and no other flag"

// parse reads the flags of a relay, which may answer STUN or not; the error is flag.ErrHelp after
// usage was written.
func parse(name string, answers bool, args []string, usage io.Writer) (f flags, err error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&f.addr, "a", ":443", "`address` to listen on")
	fs.StringVar(&f.keyFile, "c", "", "key `file`, made if there is none")
	fs.StringVar(&f.certDir, "certdir", "", "`folder` of NAME.crt and NAME.key (manual)")
	fs.StringVar(&f.certMode, "certmode", "letsencrypt",
		"manual: TLS; letsencrypt: HTTP without TLS, on any port but 443")
	fs.StringVar(&f.host, "hostname", "derp.tailscale.com", "`name` in the certificate")
	fs.IntVar(&f.httpPort, "http-port", 80, "must be -1")
	must := "must be false"
	if answers {
		must = "answer STUN, at the address of -a"
	}
	fs.BoolVar(&f.stun, "stun", true, must)
	fs.IntVar(&f.stunPort, "stun-port", 3478, "UDP `port` of STUN, unless -stun=false")
	if err = fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(usage, "%s: a relay to measure derpd against.\n", name)
		fs.SetOutput(usage)
		fs.PrintDefaults()
		return f, err
	} else if err != nil {
		return f, fmt.Errorf("%w: %s", err, taken)
	}
	return f, f.check(answers, fs.Args())
}

func (f *flags) check(answers bool, rest []string) error {
	_, port, err := net.SplitHostPort(f.addr)
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag: %s", rest[0], taken)
	case err != nil:
		return fmt.Errorf("-a %s: %w", f.addr, err)
	case f.keyFile == "":
		return errors.New("-c is missing: name a file for the relay's key")
	case f.httpPort != -1:
		return fmt.Errorf("-http-port %d: a baseline listens on -a alone; give -http-port -1",
			f.httpPort)
	case f.stun && !answers:
		return errors.New("-stun: this baseline has no STUN; give -stun=false, to loadgen as " +
			"-launch-args=-stun=false")
	case f.stun && (f.stunPort < 1 || f.stunPort > 65535):
		return fmt.Errorf("-stun-port %d: choose a port from 1 to 65535", f.stunPort)
	case f.certMode != "manual" && f.certMode != "letsencrypt":
		return fmt.Errorf("-certmode %q: choose manual (TLS) or letsencrypt (no TLS)", f.certMode)
	case f.certMode == "manual" && f.certDir == "":
		return errors.New("-certdir is missing: name the folder of the certificate")
	case f.plain() && (port == "443" || port == "https"):
		return errors.New("-certmode letsencrypt on port 443: a baseline asks no CA for a " +
			"certificate; choose another port for HTTP without TLS, or -certmode manual")
	}
	return nil
}

// plain: derper serves TLS with manual certificates, and with Let's Encrypt's on port 443 alone.
func (f *flags) plain() bool { return f.certMode == "letsencrypt" }
