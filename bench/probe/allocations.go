package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"derpd/loadgen"
)

// mallocs is the counter of heap objects that Go's collector of prometheus/client_golang serves.
const mallocs = "go_memstats_mallocs_total"

// Allocations is how many heap objects a relay written in Go has allocated since its start, as its
// metrics page at t.Varz says. Asking makes some itself: ask twice to know how many.
func Allocations(ctx context.Context, t loadgen.Target) (uint64, error) {
	if t.Varz == "" {
		return 0, unavailable("the relay has no metrics page")
	}
	ctx, cancel := context.WithTimeout(ctx, pageWaitMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Varz, nil)
	if err != nil {
		return 0, err
	}
	req.Host = t.Host
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", t.Addr.String())
		},
		TLSClientConfig:   &tls.Config{ServerName: t.Host, InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, unavailable("the relay's metrics page: %w", err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(io.LimitReader(res.Body, pageBytesMax))
	if err != nil {
		return 0, unavailable("the relay's metrics page: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return 0, unavailable("the relay's metrics page answers %q", res.Status)
	}
	return parseMallocs(page)
}

// parseMallocs finds the line "go_memstats_mallocs_total 1.234567e+06".
func parseMallocs(page []byte) (uint64, error) {
	for line := range bytes.Lines(page) {
		rest, ok := bytes.CutPrefix(line, []byte(mallocs+" "))
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(rest)), 64)
		if err != nil || !(v >= 0 && v < 1<<53) {
			return 0, fmt.Errorf("probe: %s is %.40q, which is no count", mallocs, rest)
		}
		return uint64(v), nil
	}
	return 0, unavailable("the relay's metrics page has no %s", mallocs)
}
