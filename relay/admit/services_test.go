package admit

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/relay/derp"
)

func TestTailscaled(t *testing.T) {
	f := startTailscaled(t, 1)
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket})
	expect(t, c, request(1), Allowed)
	expect(t, c, request(2), DeniedByTailscaled)
	for name, reply := range map[string]http.HandlerFunc{
		"no access":       text(http.StatusForbidden, "whois access denied"),
		"too old":         text(http.StatusBadRequest, "invalid 'addr' parameter"),
		"broken":          text(http.StatusInternalServerError, ""),
		"another service": text(http.StatusOK, "<html>"),
		"null":            text(http.StatusOK, "null"),
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 2 * whoisBytesMax / len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f.replyWith(reply)
			expect(t, c, request(1), TailscaledError)
		})
	}
}

func TestTailscaledUnreachable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	const timeout = time.Minute
	c := newChecker(t, Config{Tailscaled: true, Socket: socket, Timeout: timeout})
	start := time.Now()
	for n := range byte(5) { // through the state lost
		expect(t, c, request(n), TailscaledUnreachable)
	}
	if took := time.Since(start); took > timeout/2 {
		t.Errorf("it took %v to see that nobody listens", took)
	}
	if !c.Stats().TailscaledLost {
		t.Error("Stats do not tell that tailscaled is lost")
	}
}

func TestTailscaledSlow(t *testing.T) {
	f := startTailscaled(t, 1)
	f.replyWith(newGate(t).before(text(200, "{}")))
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, Timeout: 20 * time.Millisecond})
	expect(t, c, request(1), TailscaledUnreachable)
}

// A tailscaled that sends headers and no body has not answered either.
func TestTailscaledStalls(t *testing.T) {
	f := startTailscaled(t, 1)
	f.replyWith(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, Timeout: 50 * time.Millisecond})
	expect(t, c, request(1), TailscaledUnreachable)
}

// TestTroubleIsNotKept: only what a service has said is used again; when it answers, or answers
// right, the next login has the good of it.
func TestTroubleIsNotKept(t *testing.T) {
	f := &fakeTailscaled{t: t, socket: filepath.Join(t.TempDir(), "d.sock")}
	f.known.Store(key(1), true)
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, CacheFor: time.Hour})
	expect(t, c, request(1), TailscaledUnreachable)
	f.start()
	expect(t, c, request(1), Allowed)

	reply := text(500, "")
	u := startController(t, func(w http.ResponseWriter, r *http.Request) { reply(w, r) })
	c = newChecker(t, Config{URL: u.URL, CacheFor: time.Hour})
	expect(t, c, request(1), URLError)
	reply = text(200, `{"Allow":true}`)
	expect(t, c, request(1), Allowed)
}

// TestHangingServicesAreGivenUp: a service that takes the question and never answers costs a
// login the timeout, not more.
func TestHangingServicesAreGivenUp(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	f := startTailscaled(t)
	f.replyWith(hang)
	for want, cfg := range map[Reason]Config{
		TailscaledUnreachable: {Tailscaled: true, Socket: f.socket},
		URLUnreachable:        {URL: startController(t, hang).URL},
	} {
		cfg.Timeout = 50 * time.Millisecond
		start := time.Now()
		expect(t, newChecker(t, cfg), request(1), want)
		if took := time.Since(start); took < cfg.Timeout || took > patience {
			t.Errorf("%v after %v, want about %v", want, took, cfg.Timeout)
		}
	}
}

func TestURL(t *testing.T) {
	for name, test := range map[string]struct {
		reply http.HandlerFunc
		want  Reason
	}{
		"yes":               {text(200, `{"Allow":true}`), Allowed},
		"any case":          {text(200, `{"allow":true}`), Allowed},
		"more behind":       {text(200, `{"Allow":true,"X":1} and more`), Allowed},
		"no":                {text(200, `{"Allow":false}`), DeniedByURL},
		"nothing said":      {text(200, `{}`), DeniedByURL},
		"null":              {text(200, `null`), DeniedByURL},
		"wrong type":        {text(200, `{"Allow":"true"}`), URLError},
		"no JSON":           {text(200, `yes`), URLError},
		"empty":             {text(200, ``), URLError},
		"cut off":           {text(200, `{"Allow":true`), URLError},
		"created":           {text(201, `{"Allow":true}`), URLError},
		"no content":        {text(204, ``), URLError},
		"server error":      {text(500, `{"Allow":true}`), URLError},
		"unauthorised":      {text(401, ``), URLError},
		"just short enough": {text(200, strings.Repeat(" ", 4096-14)+`{"Allow":true}`), Allowed},
		"too long":          {text(200, strings.Repeat(" ", 4096-13)+`{"Allow":true}`), URLError},
	} {
		t.Run(name, func(t *testing.T) {
			f := startController(t, test.reply)
			for _, failOpen := range []bool{true, false} {
				c := newChecker(t, Config{URL: f.URL, URLFailOpen: failOpen})
				expect(t, c, request(1), test.want)
			}
		})
	}
}

func TestURLIsToldKeyAndAddress(t *testing.T) {
	f := startController(t, text(200, `{"Allow":true}`))
	c := newChecker(t, Config{URL: f.URL})
	var want []asked
	for remote, source := range map[string]string{
		"192.0.2.7:4000":          "192.0.2.7",
		"[::ffff:192.0.2.8]:4000": "192.0.2.8",
		"[2001:db8::1]:4000":      "2001:db8::1",
	} {
		r := Request{Key: key(9), Remote: netip.MustParseAddrPort(remote)}
		expect(t, c, r, Allowed)
		want = append(want, asked{key(9).String(), source})
	}
	expect(t, c, Request{Key: key(9)}, Allowed)
	want = append(want, asked{key(9).String(), ""})
	if !slices.Equal(f.asked, want) {
		t.Errorf("asked %v, want %v", f.asked, want)
	}
}

func TestURLUnreachable(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	resets := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	for name, target := range map[string]string{
		"nobody listens": dead.URL,
		"resets":         startController(t, resets).URL,
		"hangs":          startController(t, newGate(t).before(text(200, `{"Allow":true}`))).URL,
	} {
		t.Run(name, func(t *testing.T) {
			for failOpen, want := range map[bool]Reason{
				true: AllowedUnreachable, false: URLUnreachable,
			} {
				c := newChecker(t, Config{URL: target, URLFailOpen: failOpen,
					Timeout: 20 * time.Millisecond, CacheFor: time.Hour})
				for n := range byte(lostMax + 2) { // through the state lost
					expect(t, c, request(n), want)
				}
				if !c.Stats().URLLost {
					t.Error("Stats do not tell that the URL is lost")
				}
			}
		})
	}
}

func TestBothMustAgree(t *testing.T) {
	ts := startTailscaled(t, 1, 2)
	ctl := startController(t, func(w http.ResponseWriter, r *http.Request) {
		text(200, `{"Allow":true}`)(w, r)
	})
	no := startController(t, text(200, `{"Allow":false}`))
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	for _, test := range []struct {
		url  string
		key  byte
		want Reason
	}{
		{ctl.URL, 1, Allowed},
		{ctl.URL, 3, DeniedByTailscaled},
		{no.URL, 1, DeniedByURL},
		{no.URL, 3, DeniedByTailscaled},
		{dead.URL, 1, AllowedUnreachable},
		{dead.URL, 3, DeniedByTailscaled},
	} {
		c := newChecker(t, Config{Tailscaled: true, Socket: ts.socket, URL: test.url,
			URLFailOpen: true})
		expect(t, c, request(test.key), test.want)
	}
	if ctl.count() != 1 || no.count() != 1 {
		t.Errorf("the URL was asked %d and %d times: what tailscaled refuses is not its business",
			ctl.count(), no.count())
	}
	c := newChecker(t, Config{Tailscaled: true, Socket: ts.socket + "x", URL: ctl.URL,
		URLFailOpen: true})
	expect(t, c, request(1), TailscaledUnreachable) // fail-open is the URL's alone
}

func TestAppNames(t *testing.T) {
	ts := startTailscaled(t, 1)
	c := newChecker(t, Config{DisallowAppNames: []string{"badapp", " worse app "},
		Tailscaled: true, Socket: ts.socket})
	for name, want := range map[string]Reason{
		"": Allowed, "goodapp": Allowed, "BadApp": Allowed, "badapp2": Allowed,
		"badapp": DeniedAppName, "worse app": DeniedAppName,
	} {
		before := ts.asked.Load()
		r := request(1)
		r.AppName = name
		expect(t, c, r, want)
		if asked := ts.asked.Load() != before; asked != want.Allows() {
			t.Errorf("%q: tailscaled asked: %v", name, asked)
		}
	}
}

func TestNothingConfigured(t *testing.T) {
	cfg := Config{}
	if cfg.Enabled() {
		t.Error("nothing is enabled")
	}
	expect(t, newChecker(t, cfg), request(1), Allowed)
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{URL: "controller.example/admit"}, "use an http or https URL"},
		{Config{URL: "ftp://controller.example"}, "use an http or https URL"},
		{Config{URL: "http:///admit"}, "use an http or https URL"},
		{Config{URL: "http://secret:secret@a b/"}, "is no URL"},
		{Config{URL: "https://u:secret@/?token=secret"}, "use an http or https URL"},
		{Config{DisallowAppNames: []string{"a", ""}}, "remove the comma"},
		{Config{DisallowAppNames: []string{strings.Repeat("x", derp.MaxAppName+1)}}, "at most 32"},
		{Config{DisallowAppNames: []string{"näme"}}, "printable ASCII"},
		{Config{CacheFor: -1}, "use 0 or more"},
		{Config{MaxWaiting: -1}, "use 0 or more"},
	} {
		c, err := New(test.cfg)
		if c != nil || err == nil || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: error %v, want one with %q", test.cfg, err, test.want)
		}
	}
}

// A trouble is told once, with what helps, and its end.
func TestTroublesAreToldOnce(t *testing.T) {
	f := &fakeTailscaled{t: t, socket: filepath.Join(t.TempDir(), "d.sock")}
	f.known.Store(key(1), true)
	var log journal
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, Logger: log.logger()})
	clock := newClock(c)
	told := func(want ...string) {
		t.Helper()
		lines := log.take()
		if len(lines) != len(want) {
			t.Fatalf("logged %q, want %q", lines, want)
		}
		for i, line := range lines {
			if !strings.Contains(line, want[i]) {
				t.Errorf("logged %q, want %q", line, want[i])
			}
		}
	}
	for range 2 * lostMax {
		expect(t, c, request(1), TailscaledUnreachable)
	}
	told("start tailscaled")

	clock.move(70 * time.Second)
	srv := f.start()
	expect(t, c, request(1), Allowed)
	expect(t, c, request(1), Allowed)
	told("answers again")

	// It comes and goes: not a line each time.
	clock.move(tellEvery - time.Second - 70*time.Second)
	for range 5 {
		f.replyWith(text(500, "out of order"))
		expect(t, c, request(1), TailscaledError)
		f.reply.Store(nil)
		expect(t, c, request(1), Allowed)
	}
	told()
	clock.move(2 * time.Second)
	f.replyWith(text(500, "out of order"))
	expect(t, c, request(1), TailscaledError)
	expect(t, c, request(1), TailscaledError)
	told("out of order")
	srv.Close()
	expect(t, c, request(1), TailscaledUnreachable)
	told()
}

// Secrets in the URL stay out of the log.
func TestURLSecretsAreNotLogged(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	var log journal
	target := strings.Replace(dead.URL, "http://", "http://user:secret@", 1) + "/a?token=secret"
	c := newChecker(t, Config{URL: target, Logger: log.logger()})
	expect(t, c, request(1), URLUnreachable)
	lines := log.take()
	if len(lines) != 1 || strings.Contains(lines[0], "secret") ||
		!strings.Contains(lines[0], "/a") || !strings.Contains(lines[0], "fail-open admits") {
		t.Errorf("logged %q", lines)
	}
}

// FuzzDecodeAllow: whatever a controller answers, only a JSON object with "Allow": true in
// any case admits.
func FuzzDecodeAllow(f *testing.F) {
	f.Add(`{"Allow":true}`)
	f.Add(`{"Allow":false}{"Allow":true}`)
	f.Add(`[{"Allow":true}]`)
	f.Fuzz(func(t *testing.T, body string) {
		allow, err := decodeAllow(strings.NewReader(body))
		if !allow {
			return
		}
		lower := strings.ToLower(body)
		if err != nil || !strings.HasPrefix(strings.TrimSpace(body), "{") ||
			!strings.Contains(lower, "true") {
			t.Errorf("%q admits (%v)", body, err)
		}
	})
}
