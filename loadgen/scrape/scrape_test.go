package scrape

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

// page is a page as derper writes it: counters and gauges, with and without help.
const page = `# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 9
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.8808832e+07
# TYPE derp_tcp_rtt counter
derp_tcp_rtt{le="10ms"} 5
derp_clients_total 6
# TYPE derp_current_connections gauge
derp_current_connections 7
# TYPE derp_watchers gauge
derp_watchers 2
# TYPE derp_packets_received counter
derp_packets_received 120
# TYPE derp_packets_sent counter
derp_packets_sent 77
# TYPE derp_packets_dropped counter
derp_packets_dropped{reason="queue_head",kind="disco"} 3
derp_packets_dropped{reason="queue_head",kind="other"} 40
derp_packets_dropped{reason="write_error",kind="other"} 0
derp_packets_dropped{reason="dup_client",kind="disco"} 1.5e+06
# TYPE derp_loop_wakeups counter
derp_loop_wakeups{loop="0"} 11
derp_loop_wakeups{loop="1"} 12
`

var pageDrops = map[string]uint64{"queue_head": 43, "write_error": 0, "dup_client": 1_500_000}

// serve answers with h and returns the target, whose URL has a name that resolves nowhere.
func serve(t *testing.T, secure bool, h http.HandlerFunc) loadgen.Target {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	scheme := "http"
	if secure {
		s.StartTLS()
		scheme = "https"
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return loadgen.Target{Addr: netip.MustParseAddrPort(u.Host), Host: "relay.invalid",
		Plain: !secure, Varz: scheme + "://relay.invalid/debug/varz"}
}

func TestRead(t *testing.T) {
	for _, secure := range []bool{false, true} {
		target := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" || r.URL.Path != "/debug/varz" || r.Host != "relay.invalid" ||
				secure && (r.TLS == nil || r.TLS.ServerName != "relay.invalid") {
				http.Error(w, "no", http.StatusTeapot)
				return
			}
			io.WriteString(w, page)
		})
		varz := target.Varz
		target.Varz = strings.Replace(varz, "relay", "elsewhere", 1) // the target's name counts
		m, err := Read(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(m.Dropped, pageDrops) || m.Connections != 7 || m.Clients != 6 ||
			m.RSSBytes != 18_808_832 || m.Goroutines != 9 || m.Received != 120 || m.Sent != 77 ||
			m.Watchers != 2 || m.Wakeups != 23 || m.CrossLoop != Unknown {
			t.Errorf("TLS %v: %+v", secure, m)
		}
		drops, err := Drops(t.Context(), target)
		if err != nil || !maps.Equal(drops, pageDrops) {
			t.Errorf("TLS %v: %v, %v", secure, drops, err)
		}
		target.Host, target.Varz = "", varz // then the URL's
		if _, err := Read(t.Context(), target); err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownNumbers(t *testing.T) {
	m, err := parse([]byte(`derp_packets_dropped{kind="other",reason="x"} 1` + "\n"))
	want := Metrics{Connections: Unknown, Clients: Unknown, RSSBytes: Unknown, Goroutines: Unknown,
		Received: Unknown, Sent: Unknown, Watchers: Unknown}
	if err != nil || m.Connections != want.Connections || m.Clients != want.Clients ||
		m.RSSBytes != want.RSSBytes || m.Goroutines != want.Goroutines || m.Received != want.Received ||
		m.Sent != want.Sent || m.Watchers != want.Watchers || m.Dropped["x"] != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestParseRefuses(t *testing.T) {
	drop := func(v string) string { return `derp_packets_dropped{reason="x"} ` + v + "\n" }
	for _, tt := range []struct{ page, says string }{
		{"", "not the page of a DERP relay"},
		{"go_goroutines 3\n", "not the page of a DERP relay"},
		{"<html>hello</html>\n", "not Prometheus' text format"},
		{`{"derp": {}}`, "not Prometheus' text format"},
		{drop("-1"), "-1 is not a count"},
		{drop("1.5"), "1.5 is not a count"},
		{drop("NaN"), "NaN is not a count"},
		{drop("+Inf"), "+Inf is not a count"},
		{drop("1e16"), "1e+16 is not a count"},
		{drop("1") + "go_goroutines -3\n", "go_goroutines: -3 is not a count"},
		{"# TYPE derp_packets_dropped histogram\nderp_packets_dropped_count 3\n", "not a number"},
	} {
		_, err := parse([]byte(tt.page))
		if err == nil || !strings.Contains(err.Error(), tt.says) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", tt.page, err, tt.says)
		}
	}
}

func TestReadErrors(t *testing.T) {
	good := serve(t, false, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, page) })
	answer := func(status int, body string) loadgen.Target {
		return serve(t, false, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://"+good.Addr.String()+"/debug/varz")
			w.WriteHeader(status)
			io.WriteString(w, body)
		})
	}
	with := func(varz string) loadgen.Target {
		target := good
		target.Varz = varz
		return target
	}
	secure := serve(t, true, nil)
	overPlain := secure
	overPlain.Varz = good.Varz
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	refused := good
	refused.Addr = netip.MustParseAddrPort(closed.Addr().String())
	for _, tt := range []struct {
		name   string
		target loadgen.Target
		says   string
	}{
		{"no URL", with(""), "the target has no URL for them"},
		{"bad URL", with("http://x:y/"), `invalid port ":y"`},
		{"another scheme", with("ftp://x/"), "not an http or https URL"},
		{"no host", with("http:/debug/varz"), "not an http or https URL"},
		{"another address", with("http://127.0.0.9/debug/varz"), "it is at 127.0.0.9:80, the target"},
		{"forbidden", answer(403, ""), `the answer is "403 Forbidden"`},
		{"elsewhere", answer(302, page), `the answer is "302 Found"`},
		{"another page", answer(200, "hello\n"), "not Prometheus' text format"},
		{"endless", answer(200, strings.Repeat("#\n", pageBytesMax/2+1)), "more than 4194304 bytes"},
		{"HTTP at TLS", overPlain, "400 Bad Request"},
		{"TLS at HTTP", with("https://relay.invalid/"), "tls: "},
		{"refused", refused, "connection refused"},
	} {
		m, err := Read(t.Context(), tt.target)
		if err == nil || !strings.Contains(err.Error(), tt.says) ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", tt.target.Varz)) ||
			strings.Contains(err.Error(), "\n") || m.Dropped != nil {
			t.Errorf("%s: %+v, %v; want %q", tt.name, m, err, tt.says)
		}
		if drops, err := Drops(t.Context(), tt.target); err == nil || drops != nil {
			t.Errorf("%s: drops %v, %v", tt.name, drops, err)
		}
	}
	// The address in digits is fine if it is the target's.
	if _, err := Read(t.Context(), with("http://"+good.Addr.String()+"/debug/varz")); err != nil {
		t.Error(err)
	}
}

// A relay that takes the connection and says nothing, or never ends, is given up.
func TestReadIsBounded(t *testing.T) {
	release := make(chan struct{})
	stuck := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, page)
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	began := time.Now()
	_, err := Read(t.Context(), stuck)
	if took := time.Since(began); err == nil || took < scrapeMax || took > 3*scrapeMax ||
		!strings.Contains(err.Error(), "no whole answer within 2s") {
		t.Errorf("after %v: %v", took, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, stuck); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDiff(t *testing.T) {
	before := map[string]uint64{"a": 5, "b": 0, "c": 2}
	got, err := Diff(before, map[string]uint64{"a": 7, "b": 0, "c": 2, "d": 1})
	if want := map[string]uint64{"a": 2, "d": 1}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, after := range []map[string]uint64{{"a": 4, "c": 2}, {"a": 5}, nil} {
		if got, err := Diff(before, after); !errors.Is(err, ErrRestarted) || got != nil {
			t.Errorf("%v: %v, %v", after, got, err)
		}
	}
	if got, err := Diff(nil, nil); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte("derp_packets_dropped 1\n"))
	f.Add([]byte("# TYPE derp_packets_dropped summary\nderp_packets_dropped{quantile=\"1\"} 3\n"))
	f.Add([]byte(`{"derp_packets_dropped",reason="x"} 3` + "\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		m, err := parse(page)
		if err != nil {
			return
		}
		if m.Dropped == nil || !bytes.Contains(page, []byte(familyDropped)) {
			t.Errorf("%q has drops %v", page, m.Dropped)
		}
		for _, n := range []int64{m.Connections, m.Clients, m.RSSBytes, m.Goroutines, m.Received,
			m.Sent, m.Watchers} {
			if n < Unknown || n > countMax {
				t.Errorf("%q has a count of %d", page, n)
			}
		}
		if _, err := Diff(m.Dropped, m.Dropped); err != nil {
			t.Error(err)
		}
	})
}

// The name sent is the target's, which a relay with one certificate insists upon.
func TestServerName(t *testing.T) {
	var asked string
	target := serve(t, true, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	target.Addr = netip.MustParseAddrPort(ln.Addr().String())
	target.Host = "other.invalid"
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = tls.Server(c, &tls.Config{ // that it fails is the end of the test
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				asked = h.ServerName
				return nil, errors.New("seen")
			}}).Handshake()
	}()
	if _, err := Read(t.Context(), target); err == nil {
		t.Error("no error of a handshake that failed")
	}
	<-done
	if asked != "other.invalid" {
		t.Errorf("the server name was %q", asked)
	}
}
