package httpd

import (
	"context"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"derpd/relay"
	"derpd/relay/admit"
	"derpd/relay/bootstrap"
	"derpd/relay/certs"
	"derpd/relay/ratelimit"
	"derpd/stun"
)

// Config is what the pages need to know.
type Config struct {
	Snapshot func() relay.Snapshot
	STUN     func() stun.Stats // nil: no STUN here
	Version  string

	Clients func() iter.Seq[relay.ClientInfo] // who is logged in; nil: no DERP here
	TLS     bool                              // the main listener speaks TLS
	Admit   func() admit.Stats                // nil: everyone may log in
	Probe   func(context.Context) error       // whether logins can be checked; nil: nobody asks
	ACME    func() certs.Stats                // nil: certificates come from elsewhere
	CertEnd func() time.Time                  // of such a one; nil: there is none
	Rate    func() ratelimit.Limits           // of each client; nil: not configured

	// Home is what "/" shows: "" the default page, "blank" an empty one, otherwise the
	// http(s) URL to redirect to.
	Home string
	// NoDERP: /derp is answered 404, "derp server disabled".
	NoDERP bool
	// Bootstrap answers /bootstrap-dns.
	Bootstrap *bootstrap.Service
	// ACE lets clients CONNECT through to control servers.
	ACE bool
}

// Main returns the handler of the main listener. /derp itself is the relay's, except where
// DERP is off.
func Main(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/derp/probe", probe)
	mux.HandleFunc("/derp/latency-check", probe)
	mux.HandleFunc("/generate_204", noContent)
	mux.HandleFunc("/robots.txt", robots)
	mux.Handle("/", home(c.Home))
	if c.Bootstrap != nil {
		dns := c.Bootstrap.Handler()
		mux.HandleFunc("/bootstrap-dns", func(w http.ResponseWriter, r *http.Request) {
			browserHeaders(w, "")
			dns.ServeHTTP(w, r)
		})
	}
	if c.NoDERP {
		mux.HandleFunc("/derp", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "derp server disabled", http.StatusNotFound)
		})
	}
	debug(mux, c)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			connect(w, r, c.ACE)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Plain returns the handler of port 80: captive-portal checks, debug pages, and for all
// else the way to HTTPS.
func Plain(main http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/generate_204", noContent)
	mux.Handle("/debug/", main)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "Use HTTPS", http.StatusBadRequest)
			return
		}
		uri := r.URL.RequestURI()
		if uri == "/" && mayDebug(r) {
			uri = "/debug/"
		}
		http.Redirect(w, r, "https://"+hostOnly(r.Host)+uri, http.StatusFound)
	})
	return mux
}

func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}

// probe answers clients that measure latency over HTTPS, from browsers too.
func probe(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		w.Header().Set("Access-Control-Allow-Origin", "*")
	default:
		http.Error(w, "bogus probe method", http.StatusMethodNotAllowed)
	}
}

const challengeMax = 64 // bytes of a captive-portal challenge

// noContent answers captive-portal checks: a portal cannot know the response to the
// challenge.
func noContent(w http.ResponseWriter, r *http.Request) {
	if challenge := r.Header.Get("X-Tailscale-Challenge"); challenge != "" &&
		len(challenge) <= challengeMax && strings.Trim(challenge, challengeChars) == "" {
		w.Header().Set("X-Tailscale-Response", "response "+challenge)
	}
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate, no-transform, max-age=0")
	w.WriteHeader(http.StatusNoContent)
}

const challengeChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:"

func robots(w http.ResponseWriter, _ *http.Request) {
	browserHeaders(w, "")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "User-agent: *\nDisallow: /\n")
}

// home answers every path that nothing else does, with status 200.
func home(mode string) http.Handler {
	if mode != "" && mode != "blank" {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			browserHeaders(w, "")
			http.Redirect(w, r, mode, http.StatusFound)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		browserHeaders(w, "")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if mode == "blank" {
			return
		}
		io.WriteString(w, homePage)
		if mayDebug(r) {
			io.WriteString(w, homeDebug)
		}
	})
}

const homePage = `<!doctype html>
<html><head><title>DERP relay</title></head><body>
<h1>DERP</h1>
<p>This host runs derpd, a relay for devices of a private network that cannot reach each
other directly. It forwards encrypted WireGuard packets, which it cannot read, and answers
STUN.</p>
`

const homeDebug = `<p>Debug pages: <a href="/debug/">/debug/</a></p>
`

// browserHeaders keeps browsers from doing anything with our pages but show them.
func browserHeaders(w http.ResponseWriter, extra string) {
	h := w.Header()
	h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
	h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; "+
		"form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'"+extra)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
}
