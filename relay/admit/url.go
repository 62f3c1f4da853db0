package admit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"derpd/relay/derp"
)

// admitRequest is what is posted, by upstream's names.
type admitRequest struct {
	NodePublic derp.Key   // as "nodekey:" and 64 hexadecimal digits
	Source     netip.Addr // the client's address; "" if unknown
}

// newURL asks an admission controller by POST.
func newURL(cfg *Config) *backend {
	// As the default transport, proxy settings of the environment included.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = cfg.MaxConcurrent
	transport.MaxIdleConnsPerHost = cfg.MaxConcurrent
	transport.IdleConnTimeout = idleFor
	transport.MaxResponseHeaderBytes = headerBytesMax
	client := &http.Client{Transport: transport}

	lostWhy := URLUnreachable
	if cfg.URLFailOpen {
		lostWhy = AllowedUnreachable
	}
	address := cfg.URL
	if u, err := url.Parse(cfg.URL); err == nil {
		address = shown(u)
	}
	return &backend{
		name:    "admission URL",
		address: address,
		query: func(ctx context.Context, s subject) (Reason, error) {
			return post(ctx, client, cfg.URL, s, lostWhy)
		},
		lostWhy:   lostWhy,
		timeout:   cfg.Timeout,
		transport: transport,
		log:       cfg.Logger,
		now:       time.Now,
	}
}

func post(ctx context.Context, client *http.Client, target string, s subject,
	lostWhy Reason) (Reason, error) {

	body, err := json.Marshal(admitRequest{s.key, s.source})
	if err != nil {
		return URLError, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return URLError, err
	}
	res, err := client.Do(req)
	if err != nil {
		meanwhile := "refused (-verify-client-url-fail-open admits them)"
		if lostWhy.Allows() {
			meanwhile = "admitted (-verify-client-url-fail-open=false refuses them)"
		}
		return lostWhy, fmt.Errorf("%w: %w; logins are %s meanwhile", errLost, withoutURL(err),
			meanwhile)
	}
	defer res.Body.Close()
	answer := io.LimitReader(res.Body, admitBytesMax)
	if res.StatusCode != http.StatusOK {
		io.Copy(io.Discard, answer) // so that the connection can be used again
		return URLError, fmt.Errorf("it answered %s; logins are refused until it answers 200",
			res.Status)
	}
	allow, err := decodeAllow(answer)
	switch {
	case err != nil:
		return URLError, fmt.Errorf("its answer is not {\"Allow\":true} or false within the "+
			"first %d bytes: %w; logins are refused", admitBytesMax, err)
	case !allow:
		return DeniedByURL, nil
	}
	return Allowed, nil
}

// decodeAllow reads the answer of an admission controller: a JSON object whose Allow counts.
// What stands behind the object means nothing.
func decodeAllow(r io.Reader) (allow bool, err error) {
	var answer struct{ Allow bool }
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return false, err
	}
	io.Copy(io.Discard, r) // up to its end, so that the connection can be used again
	return answer.Allow, nil
}
