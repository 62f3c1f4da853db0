package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"derpd/relay/admit"
)

// TestRefusedLoginsAreTold: an operator reads who was refused and why, at the level that is usual,
// and of a flood some, and how many more.
func TestRefusedLoginsAreTold(t *testing.T) {
	var log bytes.Buffer
	_, ds, _ := newDoubles(t, 1, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	d := ds[0]
	refuse := func(r loggedIn) {
		h := d.accept()
		c := d.l.at(h)
		c.phase, c.login = phaseLogin, &login{}
		if r.err != nil {
			d.l.loginOpened(h, c.login, r)
		} else {
			d.l.judged(h, c.login, r, false, admit.DeniedByTailscaled)
		}
	}
	refuse(loggedIn{key: [32]byte{0xab}})
	for _, part := range []string{"nodekey:ab00", "198.51.100.7:1234", "denied_by_tailscaled"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("%q does not have %q", log.String(), part)
		}
	}
	refuse(loggedIn{err: errors.New("no box of ours")})
	if !strings.Contains(log.String(), "no box of ours") {
		t.Errorf("%q does not tell of a box that does not open", log.String())
	}
	for range 50 {
		refuse(loggedIn{})
	}
	if n := strings.Count(log.String(), "\n"); n != refusedLoginLines {
		t.Errorf("%d lines about 52 logins, want %d", n, refusedLoginLines)
	}
	d.now += int64(11 * time.Second)
	log.Reset()
	refuse(loggedIn{})
	if !strings.Contains(log.String(), "more=32") || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("later it says %q, want the 32 that were not told, and the new one", log.String())
	}
}
