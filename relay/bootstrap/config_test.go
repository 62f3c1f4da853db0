package bootstrap

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestParseList(t *testing.T) {
	long := strings.Repeat("x", nameBytesMax+1)
	for _, test := range []struct {
		list string
		want []entry
		err  string
	}{
		{"", nil, ""},
		{" ,, ", nil, ""},
		{"a.io", []entry{{"a.io", ""}}, ""},
		{"a.io,b.io/t.io", []entry{{"a.io", ""}, {"b.io", "t.io"}}, ""},
		{" a.io , b.io / t.io ,", []entry{{"a.io", ""}, {"b.io", "t.io"}}, ""},
		{"a.io/", []entry{{"a.io", ""}}, ""},
		{"a.io,a.io", []entry{{"a.io", ""}}, ""},
		{"a.io,a.io/t.io", nil, "twice"},
		{"/t.io", nil, "in front of the slash"},
		{long, nil, "shorten it"},
		{"a.io/" + long, nil, "shorten it"},
	} {
		got, err := parseList(test.list)
		if !slices.Equal(got, test.want) {
			t.Errorf("%.40q: %v, want %v", test.list, got, test.want)
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%.40q: error %v, want %q", test.list, err, test.err)
		}
	}
}

func TestNewNamesTheFlag(t *testing.T) {
	_, err := New(Config{Published: "/x"})
	if err == nil || !strings.HasPrefix(err.Error(), "-bootstrap-dns-names ") {
		t.Error(err)
	}
	_, err = New(Config{Unpublished: "/x"})
	if err == nil || !strings.HasPrefix(err.Error(), "-unpublished-bootstrap-dns-names ") {
		t.Error(err)
	}
	if _, err := New(Config{Published: "a.io"}); err != nil {
		t.Error(err)
	}
}

// A failing name is told once, and again when it is over; the end of the process is none.
func TestFailuresAreToldOnce(t *testing.T) {
	var out bytes.Buffer
	r := newFakeResolver()
	s, err := New(Config{Published: "pub.example,login.example", Resolver: r,
		Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(ctx context.Context, lines ...string) {
		t.Helper()
		out.Reset()
		s.refresh(ctx)
		if strings.Count(out.String(), "\n") != len(lines) {
			t.Errorf("logged %q, want %d lines", out.String(), len(lines))
		}
		for _, line := range lines {
			if !strings.Contains(out.String(), line) {
				t.Errorf("logged %q, want %q", out.String(), line)
			}
		}
	}
	expect(t.Context())
	r.errs["pub.example"] = errServer
	expect(t.Context(), "lookup failed")
	expect(t.Context())
	delete(r.errs, "pub.example")
	expect(t.Context(), "succeeds again")
	r.errs["pub.example"] = missing("pub.example")
	expect(t.Context(), "no such record")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.hang["login.example"] = true
	expect(ended)
}

// FuzzQuery sends any query from any address: the answer is always one of the bodies, and an
// unpublished name is told to nobody who does not ask for it.
func FuzzQuery(f *testing.F) {
	s, err := New(Config{Published: "pub.example", Unpublished: "half.example/share.example",
		Resolver: newFakeResolver(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	s.refresh(context.Background())
	f.Add("q=half.example", "1.2.3.4:567")
	f.Add("q=half.example", "[fe80::1%eth0]:567")
	f.Add("q=%zz&q=x;", "")
	f.Fuzz(func(t *testing.T, query, remote string) {
		r := httptest.NewRequest(http.MethodGet, "/bootstrap-dns", nil)
		r.URL.RawQuery, r.RemoteAddr = query, remote
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		now := s.current.Load()
		secret := now.unpublished["half.example"].body
		switch body := w.Body.Bytes(); {
		case bytes.Equal(body, secret):
			if r.URL.Query().Get("q") != "half.example" || !inShareOrLoopback(remote) {
				t.Errorf("%q from %q was told the unpublished name", query, remote)
			}
		case !bytes.Equal(body, now.body):
			t.Errorf("%q from %q: body %q", query, remote, body)
		}
	})
}

func inShareOrLoopback(remote string) bool {
	for range 64 { // loopback is a coin toss
		if inShare(remote, 50) {
			return true
		}
	}
	return false
}
