package httpd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"derpd/relay"
)

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*relay.Snapshot)
		fault  string // a part; "" is ok
	}{
		{"as it is, with a duplicate", func(*relay.Snapshot) {}, ""},
		{"empty", func(s *relay.Snapshot) { *s = relay.Snapshot{} }, ""},
		{"a client too many", func(s *relay.Snapshot) { s.Clients++ }, "7 connections, the loops have 8"},
		{"a key too many", func(s *relay.Snapshot) { s.Keys++ }, "alone"},
		{"more keys than connections", func(s *relay.Snapshot) { s.Keys = 9 }, "fewer"},
		{"a duplicate too few", func(s *relay.Snapshot) { s.DupConns-- }, "too few"},
		{"clients without TCP", func(s *relay.Snapshot) { s.Connections = 6 }, "TCP"},
		{"more homes than clients", func(s *relay.Snapshot) { s.Home = 8 }, "at home"},
		{"less than nothing", func(s *relay.Snapshot) { s.QueuedBytes = -5 }, "-5 bytes"},
	} {
		c := testConfig()
		tries := 0
		c.Snapshot = func() relay.Snapshot {
			tries++
			s := testSnapshot()
			tc.change(&s)
			return s
		}
		r := ask(Main(c), "GET", "/debug/check", "127.0.0.1:1")
		body := bodyOf(t, r)
		switch {
		case tc.fault == "" && (r.StatusCode != 200 || body != "ok\n" || tries != 1):
			t.Errorf("%s: %d %q after %d tries", tc.name, r.StatusCode, body, tries)
		case tc.fault != "" && (r.StatusCode != 500 || !strings.Contains(body, tc.fault) ||
			tries != checkTries):
			t.Errorf("%s: %d %q after %d tries, want 500 with %q", tc.name, r.StatusCode, body,
				tries, tc.fault)
		}
	}
}

// TestCheckProbesAdmission: that nobody can be admitted is a fault, told with why.
func TestCheckProbesAdmission(t *testing.T) {
	for fault, status := range map[string]int{"": 200, "tailscaled does not answer": 500} {
		c := testConfig()
		c.Probe = func(ctx context.Context) error {
			if fault == "" {
				return ctx.Err()
			}
			return errors.New(fault)
		}
		r := ask(Main(c), "GET", "/debug/check", "127.0.0.1:1")
		body := bodyOf(t, r)
		if r.StatusCode != status || fault != "" && !strings.Contains(body, fault) {
			t.Errorf("%q: %d %q, want %d", fault, r.StatusCode, body, status)
		}
	}
}

// TestCheckLooksAgain: a login between the two counts is no fault.
func TestCheckLooksAgain(t *testing.T) {
	c := testConfig()
	tries := 0
	c.Snapshot = func() relay.Snapshot {
		s := testSnapshot()
		if tries++; tries < checkTries {
			s.Conns++
			s.Keys++
		}
		return s
	}
	if r := ask(Main(c), "GET", "/debug/check", "127.0.0.1:1"); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, bodyOf(t, r))
	}
}
