package admit

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// ownNode is the node of the fake tailscaled itself.
const ownNode = 77

// TestProbe: whether logins can be checked is asked of the service that checks them.
func TestProbe(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for name, tc := range map[string]struct {
		known  []byte
		status http.HandlerFunc // answers all; nil: as tailscaled does
		gone   bool             // nobody listens
		want   string           // of the fault; "" is none
	}{
		"in order":    {known: []byte{ownNode}},
		"not known":   {known: []byte{1}, want: "denied_by_tailscaled"},
		"not there":   {gone: true, want: "look whether it runs"},
		"not allowed": {status: answer(403, "no"), want: "403"},
		"no status":   {status: answer(200, "hello"), want: "no status"},
		"not logged in": {status: answer(200, `{"Self":{"PublicKey":"nodekey:`+
			strings.Repeat("0", 64)+`"}}`), want: "logged in"},
		"without itself": {status: answer(200, "{}"), want: "logged in"},
	} {
		f := startTailscaled(t, tc.known...)
		if tc.status != nil {
			f.replyWith(tc.status)
		}
		cfg := Config{Tailscaled: true, Socket: f.socket}
		if tc.gone {
			cfg.Socket += ".missing"
		}
		c := newChecker(t, cfg)
		err := c.Probe(t.Context())
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	c := newChecker(t, Config{DisallowAppNames: []string{"x"}})
	if err := c.Probe(t.Context()); err != nil {
		t.Errorf("without a tailscaled: %v", err)
	}
}
