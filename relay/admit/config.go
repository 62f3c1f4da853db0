package admit

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"derpd/relay/derp"
)

// Request is a login to decide on.
type Request struct {
	Key     derp.Key
	Remote  netip.AddrPort // of the client; the URL is told its address
	AppName string         // as the client gives it; may be empty
}

// Config is what New needs. Nothing enabled is valid: every login is admitted.
type Config struct {
	Tailscaled bool   // ask the tailscaled of this host
	Socket     string // its unix socket; empty is DefaultSocket

	URL         string // of the admission controller; empty is none
	URLFailOpen bool   // admit while the URL cannot be reached; derper's default is true

	// DisallowAppNames are refused, compared byte by byte. Spaces around them mean nothing.
	DisallowAppNames []string

	// CacheFor is how long an answer is used again for the same key (and address, if there is
	// a URL); refusals at most three seconds. 0 is off.
	CacheFor time.Duration

	MaxConcurrent int           // checks that are asked for at once; 0 is 64
	MaxWaiting    int           // logins that wait for an answer beside these; 0 is 4096
	Timeout       time.Duration // for each wait: for a turn, tailscaled, the URL; 0 is 5 s

	Logger *slog.Logger // nil is slog.Default()
}

// Enabled reports whether any login can be refused, so that there is something to check.
func (c *Config) Enabled() bool {
	return c.Tailscaled || c.URL != "" || len(c.DisallowAppNames) > 0
}

// complete checks c and fills in its defaults. Errors are one sentence with value and remedy.
func (c *Config) complete() error {
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil {
			return fmt.Errorf("-verify-client-url is no URL: %w", withoutURL(err))
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("-verify-client-url %q: use an http or https URL with a host",
				shown(u))
		}
	}
	for _, name := range c.DisallowAppNames {
		switch name = strings.TrimSpace(name); {
		case name == "":
			return fmt.Errorf("-disallow-app-names has an empty name, which would refuse every "+
				"client that gives none: remove the comma too many (%q)",
				strings.Join(c.DisallowAppNames, ","))
		case !derp.ValidAppName(name):
			return fmt.Errorf("-disallow-app-names: no client can have the name %.60q: at most "+
				"%d printable ASCII characters", name, derp.MaxAppName)
		}
	}
	if c.CacheFor < 0 || c.Timeout < 0 || c.MaxConcurrent < 0 || c.MaxWaiting < 0 {
		return fmt.Errorf("admit: negative limit in %v, %v, %d, %d (CacheFor, Timeout, "+
			"MaxConcurrent, MaxWaiting): use 0 or more", c.CacheFor, c.Timeout,
			c.MaxConcurrent, c.MaxWaiting)
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = defaultMaxConcurrent
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = defaultMaxWaiting
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// shown returns a URL for logs, without what may be secret in it: password and query.
func shown(u *url.URL) string {
	bare := *u
	bare.RawQuery, bare.Fragment = "", ""
	return bare.Redacted()
}

// withoutURL returns what net/url and net/http put a whole URL in front of.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
