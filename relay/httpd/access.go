package httpd

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// The environment that widens access to the debug pages, under derper's names. It is looked at
// for each request, so that a changed key file counts at once.
const (
	envKeyFile = "TS_DEBUG_KEY_PATH"      // a file with the secret that ?debugkey= must be
	envAddress = "TS_ALLOW_DEBUG_IP"      // one more address that may see the pages
	envRanges  = "TS_DEBUG_TRUSTED_CIDRS" // address ranges that may, separated by commas
)

// CheckEnvironment reports a mistake in the environment's settings of debug access, with the
// variable, its value and the remedy. What cannot be read gives access to nobody.
func CheckEnvironment() error {
	if _, err := trustedRanges(); err != nil {
		return err
	}
	if s := os.Getenv(envAddress); s != "" {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("%s %q: use one IP address", envAddress, s)
		}
	}
	return nil
}

// tailscaleRanges are the addresses of nodes of a tailnet.
var tailscaleRanges = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd7a:115c:a1e0::/48"),
}

// chromeOSVMs is left out of tailscaleRanges, as by Tailscale: ChromeOS gives its virtual machines
// these addresses, so they are nobody's in a tailnet.
var chromeOSVMs = netip.MustParsePrefix("100.115.92.0/23")

// mayDebug tells who may see the debug pages, by derper's rules: who knows the secret, and,
// unless a proxy stands in front, which makes everyone look local, loopback, addresses of a
// tailnet and those that the environment names.
func mayDebug(r *http.Request) bool {
	if hasDebugKey(r) {
		return true
	}
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return false
	}
	from, err := netip.ParseAddrPort(strings.TrimSpace(r.RemoteAddr))
	if err != nil {
		return false
	}
	ip := from.Addr().Unmap()
	if ip.IsLoopback() || within(tailscaleRanges, ip) && !chromeOSVMs.Contains(ip) {
		return true
	}
	if one, err := netip.ParseAddr(os.Getenv(envAddress)); err == nil && one.Unmap() == ip {
		return true
	}
	trusted, err := trustedRanges()
	return err == nil && within(trusted, ip)
}

func within(ranges []netip.Prefix, ip netip.Addr) bool {
	for _, p := range ranges {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// hasDebugKey reports whether the request carries the secret of the key file. Only GET, as with
// derper: a form of another page cannot send it.
func hasDebugKey(r *http.Request) bool {
	path := os.Getenv(envKeyFile)
	if path == "" || r.Method != http.MethodGet {
		return false
	}
	given := r.URL.Query().Get("debugkey")
	if given == "" {
		return false
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(bytes.TrimSpace(secret), []byte(given)) == 1
}

func trustedRanges() (all []netip.Prefix, err error) {
	list := os.Getenv(envRanges)
	if list == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("%s has %q: use ranges like 192.0.2.0/24, separated by commas",
				envRanges, item)
		}
		all = append(all, p)
	}
	return all, nil
}
