package httpd

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime"
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
	fn("/debug/check", c.check)
	fn("/debug/clients/", c.clients)
	fn("/debug/traffic", c.traffic)
	fn("/debug/runtime-metrics", runtimeMetrics)
	fn("/debug/runtime-metrics/", runtimeMetrics)
	fn("/debug/set-mutex-profile-fraction", setMutexProfile)
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

const debugPage = `<!doctype html><html><head><title>derpd debug</title></head><body>
<h1>derpd</h1><p>version %s, %s, up %v</p><ul>
<li><a href="/debug/varz">varz</a> (Prometheus)</li>
<li><a href="/debug/vars">vars</a> (JSON)</li>
<li><a href="/debug/clients/">clients</a> (who is connected)</li>
<li><a href="/debug/traffic">traffic</a> (who moves what, as JSON, every 2 s for a minute)</li>
<li><a href="/debug/check">check</a> (consistency)</li>
<li><a href="/debug/runtime-metrics">runtime-metrics</a> (of Go)</li>
<li><a href="/debug/pprof/">pprof</a></li>
<li><a href="/debug/set-mutex-profile-fraction">set-mutex-profile-fraction</a></li>
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
