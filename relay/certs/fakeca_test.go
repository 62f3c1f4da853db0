package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// fakeCA is an ACME server: as much of RFC 8555 as a client needs, without checking who signs
// requests. It is its own transport, so that tests in virtual time need no socket.
type fakeCA struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	root *x509.Certificate
	life time.Duration

	auto   *Auto        // who is validated on port 443
	port80 http.Handler // and there

	mu       sync.Mutex
	silent   bool            // answers nothing
	refuses  bool            // orders
	limits   string          // and says when to come again, in Retry-After
	limited  string          // what is limited: orders if empty, or authz
	looks    []string        // kinds of the validations it was asked for
	offers   []string        // kinds of validation
	fails    map[string]bool // kinds that do not succeed
	eabKey   []byte          // required if set
	accounts map[string]bool // by JWK
	orders   []*fakeOrder
	requests int
	profiles []string // that it advertises
}

type fakeOrder struct {
	kind, value, profile string // of the identifier
	state, authz         string
	token                string
	chain                []byte
}

const fakeBase = "https://ca.test"

func newFakeCA(t *testing.T) *fakeCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeCA{t: t, key: key, root: root, life: 90 * 24 * time.Hour,
		offers: []string{"dns-01", http01, tlsALPN01}, accounts: make(map[string]bool),
		fails: make(map[string]bool), profiles: []string{"classic", "shortlived"}}
}

// client returns an HTTP client that knows nothing but this CA.
func (ca *fakeCA) client() *http.Client { return &http.Client{Transport: ca} }

func (ca *fakeCA) set(change func()) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	change()
}

func (ca *fakeCA) ordered() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.orders)
}

// RoundTrip implements http.RoundTripper.
func (ca *fakeCA) RoundTrip(r *http.Request) (*http.Response, error) {
	ca.mu.Lock()
	ca.requests++
	silent := ca.silent
	ca.mu.Unlock()
	if silent {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	ca.ServeHTTP(w, r)
	return w.Result(), nil
}

// ServeHTTP implements http.Handler.
func (ca *fakeCA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", rand.Text())
	what, number, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	var jws struct{ Protected, Payload string }
	var payload []byte
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
			ca.t.Errorf("%s: %v", r.URL, err)
		}
		payload = unbase64(ca.t, jws.Payload)
	}
	switch what {
	case "directory":
		ca.directory(w)
	case "nonce":
	case "account":
		ca.account(w, jws.Protected, payload)
	case "new-order":
		ca.newOrder(w, payload)
	default:
		n, err := strconv.Atoi(number)
		if err != nil {
			ca.t.Errorf("the CA was asked for %q", r.URL.Path)
		}
		ca.ofOrder(w, what, n, payload)
	}
}

func (ca *fakeCA) directory(w http.ResponseWriter) {
	profiles := make(map[string]string)
	for _, p := range ca.profiles {
		profiles[p] = "a profile"
	}
	reply(w, http.StatusOK, map[string]any{
		"newNonce": fakeBase + "/nonce", "newAccount": fakeBase + "/account",
		"newOrder": fakeBase + "/new-order", "revokeCert": fakeBase + "/revoke",
		"meta": map[string]any{"termsOfService": fakeBase + "/terms", "profiles": profiles,
			"externalAccountRequired": ca.eabKey != nil},
	})
}

// account serves newAccount (RFC 8555 §7.3).
func (ca *fakeCA) account(w http.ResponseWriter, protected string, payload []byte) {
	var header struct{ JWK json.RawMessage }
	parse(ca.t, unbase64(ca.t, protected), &header)
	var ask struct {
		OnlyReturnExisting, TermsOfServiceAgreed bool
		ExternalAccountBinding                   *struct{ Protected, Payload, Signature string }
	}
	parse(ca.t, payload, &ask)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	w.Header().Set("Location", fakeBase+"/account/1")
	known := ca.accounts[string(header.JWK)]
	switch {
	case known && ask.ExternalAccountBinding != nil:
		problem(w, "unauthorized", "this binding was used") // as a strict CA may say
		return
	case known:
		reply(w, http.StatusOK, map[string]any{"status": "valid"})
		return
	case ask.OnlyReturnExisting:
		problem(w, "accountDoesNotExist", "no such account")
		return
	case !ask.TermsOfServiceAgreed:
		problem(w, "userActionRequired", "agree to the terms")
		return
	case ca.eabKey != nil:
		b := ask.ExternalAccountBinding
		if b == nil {
			problem(w, "externalAccountRequired", "no external account binding")
			return
		}
		mac := hmac.New(sha256.New, ca.eabKey)
		mac.Write([]byte(b.Protected + "." + b.Payload))
		if !hmac.Equal(mac.Sum(nil), unbase64(ca.t, b.Signature)) {
			problem(w, "unauthorized", "wrong HMAC")
			return
		}
	}
	ca.accounts[string(header.JWK)] = true
	reply(w, http.StatusCreated, map[string]any{"status": "valid"})
}

func (ca *fakeCA) newOrder(w http.ResponseWriter, payload []byte) {
	var ask struct {
		Identifiers []struct{ Type, Value string }
		Profile     string
	}
	parse(ca.t, payload, &ask)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o := &fakeOrder{kind: ask.Identifiers[0].Type, value: ask.Identifiers[0].Value,
		profile: ask.Profile, state: "pending", authz: "pending", token: rand.Text()}
	ca.orders = append(ca.orders, o)
	if ca.limits != "" && ca.limited == "" {
		ca.comeAgain(w)
		return
	}
	if ca.refuses {
		problem(w, "rejectedIdentifier", "not this one")
		return
	}
	ca.order(w, http.StatusCreated, len(ca.orders)-1)
}

// comeAgain refuses, and says in Retry-After when to ask again.
func (ca *fakeCA) comeAgain(w http.ResponseWriter) {
	w.Header().Set("Retry-After", ca.limits)
	w.Header().Set("Content-Type", "application/problem+json")
	reply(w, http.StatusTooManyRequests, map[string]string{"detail": "too many failures",
		"type": "urn:ietf:params:acme:error:rateLimited"})
}

func (ca *fakeCA) order(w http.ResponseWriter, status, n int) {
	o := ca.orders[n]
	w.Header().Set("Location", fmt.Sprintf("%s/order/%d", fakeBase, n))
	reply(w, status, map[string]any{
		"status":         o.state,
		"identifiers":    []map[string]string{{"type": o.kind, "value": o.value}},
		"authorizations": []string{fmt.Sprintf("%s/authz/%d", fakeBase, n)},
		"finalize":       fmt.Sprintf("%s/finalize/%d", fakeBase, n),
		"certificate":    fmt.Sprintf("%s/cert/%d", fakeBase, n),
	})
}

// ofOrder serves what belongs to order n; challenges are named by their kind.
func (ca *fakeCA) ofOrder(w http.ResponseWriter, what string, n int, payload []byte) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o := ca.orders[n]
	if ca.limits != "" && ca.limited == what {
		ca.comeAgain(w)
		return
	}
	switch what {
	case "authz":
		if bytes.Contains(payload, []byte("deactivated")) {
			o.authz = "deactivated"
		}
		var challenges []map[string]string
		for _, kind := range ca.offers {
			challenges = append(challenges, map[string]string{"type": kind, "status": o.authz,
				"url": fmt.Sprintf("%s/%s/%d", fakeBase, kind, n), "token": o.token})
		}
		reply(w, http.StatusOK, map[string]any{"status": o.authz, "challenges": challenges,
			"identifier": map[string]string{"type": o.kind, "value": o.value}})
	case http01, tlsALPN01:
		ca.looks = append(ca.looks, what)
		o.authz, o.state = "valid", "ready"
		if err := ca.validate(what, o); err != nil || ca.fails[what] {
			o.authz, o.state = "invalid", "invalid"
			if !ca.fails[what] {
				ca.t.Errorf("%s of %s: %v", what, o.value, err)
			}
		}
		reply(w, http.StatusOK, map[string]string{"type": what, "status": o.authz})
	case "order":
		ca.order(w, http.StatusOK, n)
	case "finalize":
		o.state, o.chain = "valid", ca.issue(o, payload)
		ca.order(w, http.StatusOK, n)
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(o.chain)
	default:
		ca.t.Errorf("the CA was asked for %q", what)
	}
}

// validate does what a CA does from outside: it asks port 443 or port 80.
func (ca *fakeCA) validate(kind string, o *fakeOrder) error {
	if kind == tlsALPN01 {
		pair, err := ca.auto.GetCertificate(&tls.ClientHelloInfo{ServerName: o.value,
			SupportedProtos: []string{acme.ALPNProto}})
		if err != nil {
			return err
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			return err
		}
		if len(pair.Certificate) != 1 || leaf.VerifyHostname(o.value) != nil {
			return fmt.Errorf("%d certificates, the first for %v", len(pair.Certificate), leaf.DNSNames)
		}
		return nil
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/.well-known/acme-challenge/"+o.token, nil)
	r.Host = o.value
	ca.port80.ServeHTTP(w, r)
	if body := w.Body.String(); w.Code != 200 || !strings.HasPrefix(body, o.token+".") {
		return fmt.Errorf("port 80 says %d %q", w.Code, body)
	}
	return nil
}

func (ca *fakeCA) issue(o *fakeOrder, payload []byte) []byte {
	var ask struct{ CSR string }
	parse(ca.t, payload, &ask)
	csr, err := x509.ParseCertificateRequest(unbase64(ca.t, ask.CSR))
	if err != nil {
		ca.t.Error(err)
		return nil
	}
	if len(csr.DNSNames)+len(csr.IPAddresses) != 1 || csr.Subject.String() != "" {
		ca.t.Errorf("request for %v, %v and %q", csr.DNSNames, csr.IPAddresses, csr.Subject)
	}
	return ca.sign(csr.PublicKey, csr.DNSNames, csr.IPAddresses)
}

// sign returns a chain in PEM that is valid from now on.
func (ca *fakeCA) sign(public any, names []string, addrs []net.IP) []byte {
	ca.t.Helper()
	from := time.Now()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		ca.t.Error(err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial, NotBefore: from, NotAfter: from.Add(ca.life),
		DNSNames: names, IPAddresses: addrs,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.root, public, ca.key)
	if err != nil {
		ca.t.Error(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})...)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func problem(w http.ResponseWriter, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	reply(w, http.StatusBadRequest, map[string]string{"detail": detail,
		"type": "urn:ietf:params:acme:error:" + kind})
}

func unbase64(t *testing.T, s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Errorf("%q: %v", s, err)
	}
	return b
}

func parse(t *testing.T, text []byte, v any) {
	if len(text) == 0 {
		return // POST-as-GET
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(v); err != nil && err != io.EOF {
		t.Errorf("%s: %v", text, err)
	}
}
