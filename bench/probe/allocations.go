package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"derpd/loadgen"
)

const (
	// heapPage is net/http/pprof's. It counts before it does anything else, so that asking costs the
	// same each time; on the metrics page the count is taken at any moment of making it.
	heapPage = "/debug/pprof/heap?debug=1"
	mallocs  = "# Mallocs = "
)

// Allocations is how many heap objects a relay written in Go has allocated since its start, as
// its heap profile says, which derpd and derper show to loopback. Asking makes some itself: ask
// twice to know how many.
func Allocations(ctx context.Context, t loadgen.Target) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, pageWaitMax)
	defer cancel()
	scheme := "https://"
	if t.Plain {
		scheme = "http://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+t.Addr.String()+heapPage, nil)
	if err != nil {
		return 0, err
	}
	req.Host = t.Host
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{ServerName: t.Host, InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, unavailable("the relay's heap profile: %w", err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(io.LimitReader(res.Body, pageBytesMax))
	if err != nil {
		return 0, unavailable("the relay's heap profile: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return 0, unavailable("the relay's heap profile: it answers %q", res.Status)
	}
	return parseMallocs(page)
}

// parseMallocs finds the line "# Mallocs = 1234567".
func parseMallocs(page []byte) (uint64, error) {
	for line := range bytes.Lines(page) {
		rest, ok := bytes.CutPrefix(line, []byte(mallocs))
		if !ok {
			continue
		}
		v, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 53)
		if err != nil {
			return 0, fmt.Errorf("probe: the heap profile has %.40q mallocs, which is no count", rest)
		}
		return v, nil
	}
	return 0, unavailable("the relay's heap profile has no line %q", mallocs)
}
