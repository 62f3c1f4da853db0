package admit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// whoisURL is tailscaled's LocalAPI. It wants this host name, whatever the connection.
const whoisURL = "http://local-tailscaled.sock/localapi/v0/whois?addr="

// newTailscaled asks the tailscaled of this host over its unix socket who has a key.
func newTailscaled(cfg *Config) *backend {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", cfg.Socket)
		},
		MaxIdleConnsPerHost:    cfg.MaxConcurrent,
		IdleConnTimeout:        idleFor,
		MaxResponseHeaderBytes: headerBytesMax,
	}
	client := &http.Client{Transport: transport}
	return &backend{
		name:    "tailscaled",
		address: cfg.Socket,
		query: func(ctx context.Context, s subject) (Reason, error) {
			return whois(ctx, client, s)
		},
		lostWhy:   TailscaledUnreachable,
		timeout:   cfg.Timeout,
		transport: transport,
		log:       cfg.Logger,
		now:       time.Now,
	}
}

func whois(ctx context.Context, client *http.Client, s subject) (Reason, error) {
	target := whoisURL + url.QueryEscape(s.key.String())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return TailscaledError, err
	}
	res, err := client.Do(req)
	if err != nil {
		return TailscaledUnreachable, fmt.Errorf("%w: %w; logins are refused: start tailscaled "+
			"on this host, or name its socket with -socket", errLost, withoutURL(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, whoisBytesMax))
	if err != nil {
		return TailscaledUnreachable, fmt.Errorf("%w: %w", errLost, err)
	}
	switch {
	case res.StatusCode == http.StatusNotFound:
		return DeniedByTailscaled, nil
	case res.StatusCode == http.StatusOK && isObject(body):
		return Allowed, nil
	case res.StatusCode == http.StatusOK:
		return TailscaledError, fmt.Errorf("it answered %.*q, which is no JSON object: is "+
			"-socket the socket of a tailscaled?", errorBytesMax, body)
	case strings.Contains(string(body), "invalid 'addr' parameter"):
		return TailscaledError, fmt.Errorf("it cannot look up keys (%s: %.*q): update tailscaled",
			res.Status, errorBytesMax, bytes.TrimSpace(body))
	}
	return TailscaledError, fmt.Errorf("it answered %s, %.*q: look at its log", res.Status,
		errorBytesMax, bytes.TrimSpace(body))
}

// isObject reports whether a body is a JSON object, as a description of a node is. What is
// cut off at whoisBytesMax is none.
func isObject(body []byte) bool {
	var node map[string]json.RawMessage
	return json.Unmarshal(body, &node) == nil && node != nil
}
