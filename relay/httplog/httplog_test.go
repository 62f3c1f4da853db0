package httplog

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhatIsOursIsTold: by the words that this release of net/http really uses.
func TestWhatIsOursIsTold(t *testing.T) {
	var logged bytes.Buffer
	to := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("a bug")
	}))
	srv.Config.ErrorLog = New(to)
	srv.StartTLS()
	if _, err := srv.Client().Get(srv.URL); err == nil {
		t.Error("answered by a panic")
	}
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("no TLS at all, but long enough to be read as a record\n"))
	c.Read(make([]byte, 1)) // the server has noticed
	c.Close()
	srv.Close()
	for _, want := range []struct{ level, part string }{
		{"WARN", "a bug"}, {"DEBUG", "TLS handshake error"},
	} {
		found := false
		for line := range strings.Lines(logged.String()) {
			found = found || strings.Contains(line, "level="+want.level) &&
				strings.Contains(line, want.part)
		}
		if !found {
			t.Errorf("no %s with %q:\n%s", want.level, want.part, &logged)
		}
	}
	if n := strings.Count(logged.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &logged)
	}
}
