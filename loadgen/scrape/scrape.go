package scrape

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"derpd/loadgen"
)

// Drops returns how many packets the relay has dropped since it started, by its reason, disco and
// others together: it has every reason that the relay knows, 0 included. Errors are those of Read.
func Drops(ctx context.Context, t loadgen.Target) (map[string]uint64, error) {
	m, err := Read(ctx, t)
	return m.Dropped, err
}

// Read gets the page at t.Varz, an http or https URL. It connects to t.Addr whatever host the URL
// names, with t.Host (if empty, the URL's host) as TLS server name and in the request; a URL with
// another address in digits is refused. It takes 2 s at most. Errors are one sentence with the URL.
func Read(ctx context.Context, t loadgen.Target) (Metrics, error) {
	m, err := read(ctx, t)
	if err != nil {
		return Metrics{}, fmt.Errorf("the relay's metrics at %q cannot be read: %w", t.Varz, err)
	}
	return m, nil
}

func read(ctx context.Context, t loadgen.Target) (Metrics, error) {
	u, err := parseURL(t)
	if err != nil {
		return Metrics{}, err
	}
	host := t.Host
	if host == "" {
		host = u.Hostname()
	}
	ctx, cancel := context.WithTimeout(ctx, scrapeMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Metrics{}, err
	}
	req.Host = host
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", t.Addr.String())
		},
		TLSClientConfig:        &tls.Config{ServerName: host, InsecureSkipVerify: true},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: headerBytesMax,
	}
	res, err := transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return Metrics{}, cause(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return Metrics{}, fmt.Errorf("the answer is %q: derpd and derper show them to loopback "+
			"and to their own tailnet only", res.Status)
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, pageBytesMax+1))
	if err != nil {
		return Metrics{}, cause(ctx, err)
	}
	if len(page) > pageBytesMax {
		return Metrics{}, fmt.Errorf("more than %d bytes are no page of metrics", pageBytesMax)
	}
	return parse(page)
}

// parseURL refuses what would look elsewhere than at the target.
func parseURL(t loadgen.Target) (*url.URL, error) {
	if t.Varz == "" {
		return nil, errors.New("the target has no URL for them")
	}
	u, err := url.Parse(t.Varz)
	if err != nil {
		return nil, errors.Unwrap(err) // without the URL again
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("not an http or https URL with a host")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	there, err := netip.ParseAddrPort(net.JoinHostPort(u.Hostname(), port))
	if err == nil && there != t.Addr {
		return nil, fmt.Errorf("it is at %v, the target at %v: only the target is asked", there,
			t.Addr)
	}
	return u, nil
}

// cause says what ended a request in time's name, if that did.
func cause(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer within %v", scrapeMax)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
