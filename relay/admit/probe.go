package admit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"derpd/relay/derp"
)

// statusURL is tailscaled's LocalAPI for what it says of itself.
const statusURL = "http://local-tailscaled.sock/localapi/v0/status?peers=false"

// Probe tells what keeps logins from being checked; nil if nothing does. It asks tailscaled for the
// key of its own node and then about that key, as derper's /debug/check does. Where no tailscaled
// is asked about logins there is no key to try, and nothing is asked.
func (c *Checker) Probe(ctx context.Context) error {
	if c.tailscaled == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	key, err := ownKey(ctx, &http.Client{Transport: c.tailscaled.transport})
	if err != nil {
		return fmt.Errorf("tailscaled does not say who it is: %w; look whether it runs, and at -socket",
			withoutURL(err))
	}
	remote := netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	if ok, why := c.Check(ctx, Request{Key: key, Remote: remote}); !ok {
		return fmt.Errorf("this host's own node, %v, would not be admitted: %v", key, why)
	}
	return nil
}

// ownKey asks tailscaled for the key of its node.
func ownKey(ctx context.Context, client *http.Client) (key derp.Key, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, statusURL, nil)
	if err != nil {
		return key, err
	}
	res, err := client.Do(req)
	if err != nil {
		return key, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return key, fmt.Errorf("it answered %s", res.Status)
	}
	var status struct {
		Self *struct{ PublicKey derp.Key }
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, statusBytesMax)).Decode(&status); err != nil {
		return key, fmt.Errorf("its answer is no status: %w", err)
	}
	if status.Self == nil || status.Self.PublicKey == key {
		return key, fmt.Errorf("it has no node key: is it logged in?")
	}
	return status.Self.PublicKey, nil
}
