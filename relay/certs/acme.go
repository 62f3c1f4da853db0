package certs

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"derpd/relay/derp"
)

const (
	// LetsEncryptDirectory is Let's Encrypt's production directory (-certmode letsencrypt).
	LetsEncryptDirectory = acme.LetsEncryptURL
	// GoogleDirectory is the directory of Google's public CA (-certmode gcp).
	GoogleDirectory = "https://dv.acme-v02.api.pki.goog/directory"
	// shortLived is the profile under which Let's Encrypt certifies addresses, for six days.
	shortLived = acme.ProfileName("shortlived")
)

// ACMEConfig says what to certify and by whom. It is not changed after ACME.
type ACMEConfig struct {
	Directory   string       // URL; "" is LetsEncryptDirectory
	HTTPClient  *http.Client // to reach the CA; nil is a client with a time limit
	Email       string       // of the account, for the CA's warnings; may be empty
	EABKid      string       // external account binding (RFC 8555 §7.3.4): key identifier
	EABKey      string       // and its HMAC key in base64, of either alphabet
	CacheDir    string       // where certificates and account keys are kept, as derper does
	Hostname    string       // DNS name, or an address with IPs
	IPs         bool         // also certify the local addresses that clients connect to
	Logger      *slog.Logger // nil discards
	Now         func() time.Time
	RenewBefore time.Duration // of the host name's; 0 is a third of its life, 30 days at most
}

// Auto serves certificates that it gets and renews by ACME (RFC 8555): one for the host
// name, and with IPs one for each local address that clients connect to (RFC 8738).
//
// GetCertificate, HTTPHandler's handler and Stats may be called from any goroutine and never
// wait for the CA, a lock or a disk. Serve comes first and once, then Watch, once.
type Auto struct {
	conf    ACMEConfig
	host    subject // of conf.Hostname
	binding *acme.ExternalAccountBinding
	log     *slog.Logger
	period  time.Duration // of Watch's looks

	// served is what handshakes read: swapped whole by publish, read by any goroutine.
	served     atomic.Pointer[served]
	challenges challenges
	http01     atomic.Bool // HTTPHandler was called: port 80 is ours
	counts     counts

	wanted  chan netip.Addr // from handshakes to Watch: a client connects to this address
	results chan result     // from attempts to Watch

	accounts sync.Mutex // one attempt at a time makes an account key

	// The rest is Serve's, then Watch's.
	server  derp.Key
	meta    []byte
	metaAt  time.Time
	entries map[subject]*entry
	full    bool // that addressesMax is reached was logged
}

// ACME reads what CacheDir holds and checks c. It writes nothing and asks nobody: that begins
// with Serve and Watch.
func ACME(c ACMEConfig) (*Auto, error) {
	if c.Directory == "" {
		c.Directory = LetsEncryptDirectory
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CacheDir == "" {
		return nil, errors.New("-certdir is empty: name a directory to keep certificates in")
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Host == "" {
		return nil, fmt.Errorf("ACME directory %q is no URL: give one like %s", c.Directory,
			LetsEncryptDirectory)
	}
	host, err := hostSubject(c.Hostname)
	if err != nil {
		return nil, err
	}
	a := &Auto{conf: c, host: host, log: c.Logger, period: acmeLookEvery,
		wanted: make(chan netip.Addr, wantedMax), results: make(chan result),
		entries: make(map[subject]*entry)}
	if err := a.checkMode(); err != nil {
		return nil, err
	}
	if a.binding, err = eab(c.EABKid, c.EABKey); err != nil {
		return nil, err
	}
	a.conf.HTTPClient = limited(c.HTTPClient)
	a.served.Store(&served{})
	return a, a.readCache()
}

// checkMode holds derper's rules about what goes together.
func (a *Auto) checkMode() error {
	c := &a.conf
	google := c.Directory == GoogleDirectory
	switch {
	case google && (c.EABKid == "" || c.EABKey == "" || c.Email == ""):
		return errors.New("-certmode gcp needs -acme-eab-kid, -acme-eab-key and -acme-email: " +
			"get the first two from `gcloud publicca external-account-keys create`")
	case c.IPs && google:
		return errors.New("-acme-ip-certs needs another CA than Google's, which does not certify " +
			"addresses in this way: choose -certmode letsencrypt or leave the flag out")
	case a.host.addr.IsValid() && !c.IPs:
		return fmt.Errorf("-hostname %s is an address: add -acme-ip-certs (with -certmode "+
			"letsencrypt) or use -certmode manual", c.Hostname)
	}
	return nil
}

// hostSubject checks a host name as strictly as its use as a file name needs.
func hostSubject(hostname string) (subject, error) {
	if ip, err := netip.ParseAddr(hostname); err == nil {
		return subject{addr: plain(ip)}, nil
	}
	name := plainName(hostname)
	labels := strings.Split(name, ".")
	if len(labels) < 2 || len(name) > hostNameMax || unsafeInName.MatchString(name) ||
		slices.Contains(labels, "") {
		return subject{}, fmt.Errorf("-hostname %q is no DNS name that a CA certifies: give it in "+
			"full, like derp.example.com, and in ASCII (xn--…)", hostname)
	}
	return subject{name: name}, nil
}

// eab decodes an external account binding; nil if there is none.
func eab(kid, key string) (*acme.ExternalAccountBinding, error) {
	if kid == "" && key == "" {
		return nil, nil
	}
	if kid == "" || key == "" {
		return nil, errors.New("-acme-eab-kid and -acme-eab-key go together: give both or neither")
	}
	// The CA's tools print either alphabet, padded or not.
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(key, "="))
	mac, err := base64.RawURLEncoding.DecodeString(urlSafe)
	if err != nil || len(mac) == 0 {
		return nil, fmt.Errorf("-acme-eab-key (%d characters) is not base64: copy it as the CA "+
			"printed it", len(key))
	}
	return &acme.ExternalAccountBinding{KID: kid, Key: mac}, nil
}

// limited returns c with a time limit for each request.
func limited(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{}
	}
	with := *c
	if with.Timeout == 0 {
		with.Timeout = requestMax
	}
	return &with
}

// readCache enters the host name, and what certificates there are, and sees that account keys are
// good.
func (a *Auto) readCache() error {
	host := &entry{asked: true}
	a.entries[a.host] = host
	var err error
	if host.pair, err = a.fromCache(a.host); err != nil {
		return err
	}
	// A key that is of no use would be met by the first renewal, weeks later.
	if _, err := storedAccount(a.conf.CacheDir, a.host); err != nil {
		return err
	}
	if !a.conf.IPs {
		return nil
	}
	if _, err := storedAccount(a.conf.CacheDir, subject{addr: netip.IPv4Unspecified()}); err != nil {
		return err
	}
	for _, ip := range cachedAddrs(a.conf.CacheDir) {
		s := subject{addr: ip}
		if a.entries[s] != nil || len(a.entries) >= addressesMax {
			continue
		}
		pair, err := a.fromCache(s)
		if err != nil {
			return err
		}
		if pair != nil && a.conf.Now().Before(pair.Leaf.NotAfter) {
			a.entries[s] = &entry{pair: pair}
		}
	}
	return nil
}

// fromCache reads a certificate to start with. A broken one is reported, and got anew; one
// that may not be read is the operator's mistake.
func (a *Auto) fromCache(s subject) (*tls.Certificate, error) {
	pair, err := loadCached(a.conf.CacheDir, s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("-certdir %s: %w: let the relay's user read it", a.conf.CacheDir, err)
	case err != nil:
		a.log.Warn("stored certificate is of no use; a new one will be got", "for", s, "error", err)
		return nil, nil
	}
	return pair, nil
}

// Serve makes sure that certificates can be kept, and serves the stored ones for a server
// with that key. It is the first to write.
func (a *Auto) Serve(server derp.Key) error {
	if err := writable(a.conf.CacheDir); err != nil {
		return err
	}
	a.server = server
	if err := a.remakeMeta(a.conf.Now()); err != nil {
		return err
	}
	a.publish()
	a.tellStored()
	return nil
}

// tellStored logs what the cache has given: a certificate that was got for a trial, from another
// CA, looks like any other until clients refuse it.
func (a *Auto) tellStored() {
	for s, e := range a.entries {
		if e.pair != nil {
			a.log.Info("stored certificate in service", "for", s, "issuer", e.pair.Leaf.Issuer,
				"until", e.pair.Leaf.NotAfter, "renewed_from", a.renewAt(s, e.pair.Leaf))
		}
	}
}

// NextProtos returns what tls.Config.NextProtos must be for GetCertificate.
func (a *Auto) NextProtos() []string {
	if a.host.addr.IsValid() {
		return []string{"http/1.1"} // addresses are validated on port 80
	}
	return []string{"http/1.1", acme.ALPNProto}
}
