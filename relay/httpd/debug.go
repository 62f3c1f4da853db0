package httpd

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// debug adds /debug/ and what is below it, for those who may see it.
func debug(mux *http.ServeMux, c Config) {
	handle := func(path string, h http.Handler) {
		mux.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !mayDebug(r) {
				http.Error(w, "debug access denied: only from loopback or a Tailscale address",
					http.StatusForbidden)
				return
			}
			browserHeaders(w, "; style-src 'self' 'unsafe-inline'")
			h.ServeHTTP(w, r)
		}))
	}
	fn := func(path string, f http.HandlerFunc) { handle(path, f) }
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collector{c}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	handle("/debug/varz", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	fn("/debug/vars", func(w http.ResponseWriter, _ *http.Request) { writeVars(w, c) })
	fn("/debug/gc", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		io.WriteString(w, "garbage collected\n")
	})
	fn("/debug/pprof/", pprof.Index)
	fn("/debug/pprof/cmdline", pprof.Cmdline)
	fn("/debug/pprof/profile", long(pprof.Profile))
	fn("/debug/pprof/symbol", pprof.Symbol)
	fn("/debug/pprof/trace", long(pprof.Trace))
	fn("/debug/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debug/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, debugPage, c.Version, runtime.Version(),
			time.Since(started).Round(time.Second))
	})
}

var started = time.Now()

const debugPage = `<!doctype html><html><head><title>derpd debug</title></head><body>
<h1>derpd</h1><p>version %s, %s, up %v</p><ul>
<li><a href="/debug/varz">varz</a> (Prometheus)</li>
<li><a href="/debug/vars">vars</a> (JSON)</li>
<li><a href="/debug/pprof/">pprof</a></li>
<li><a href="/debug/gc">gc</a> (collects garbage)</li>
</ul></body></html>
`

// long lets a handler run beyond the server's write timeout: profiles take as long as they
// are asked to.
func long(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Time{})
		// pprof refuses what would outlast the server's timeout; there is none here now.
		srv := &http.Server{}
		h(w, r.WithContext(contextWithServer(r.Context(), srv)))
	}
}

// tailscaleRanges are the addresses of nodes of a tailnet.
var tailscaleRanges = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd7a:115c:a1e0::/48"),
}

// mayDebug: loopback and Tailscale addresses, unless a proxy stands in front, which makes
// everyone look local.
func mayDebug(r *http.Request) bool {
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		return false
	}
	from, err := netip.ParseAddrPort(strings.TrimSpace(r.RemoteAddr))
	if err != nil {
		return false
	}
	ip := from.Addr().Unmap()
	if ip.IsLoopback() {
		return true
	}
	for _, p := range tailscaleRanges {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
