package httpd

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"derpd/relay"
)

const (
	// checkTries is how many snapshots must show a difference before it is one. The loops'
	// counts and the registry's are read one after the other, so that a login in between makes
	// a difference that the next snapshot does not have.
	checkTries = 8

	checkPause = 20 * time.Millisecond
)

// check compares what the relay counts in two ways, and looks whether logins can be checked, where
// they are. Several connections of one key are no fault.
func (c Config) check(w http.ResponseWriter, r *http.Request) {
	var fault string
	for try := range checkTries {
		if try > 0 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(checkPause):
			}
		}
		s := c.Snapshot()
		if fault = inconsistency(&s); fault == "" {
			break
		}
	}
	if fault == "" && c.Probe != nil {
		if err := c.Probe(r.Context()); err != nil {
			fault = err.Error()
		}
	}
	if fault != "" {
		http.Error(w, fault, http.StatusInternalServerError)
		return
	}
	io.WriteString(w, "ok\n")
}

// inconsistency tells the first thing that cannot be; empty if there is none.
func inconsistency(s *relay.Snapshot) string {
	for _, x := range []struct {
		wrong bool
		text  string
		a, b  int
	}{
		{s.Conns != s.Clients, "the registry has %d connections, the loops have %d", s.Conns,
			s.Clients},
		{s.Conns < s.Keys, "%d connections are fewer than the %d keys they have", s.Conns, s.Keys},
		{s.DupConns < 2*s.DupKeys, "%d connections are too few for %d keys that have several",
			s.DupConns, s.DupKeys},
		{s.Conns-s.DupConns != s.Keys-s.DupKeys,
			"%d connections are alone with their key, but %d keys have one connection",
			s.Conns - s.DupConns, s.Keys - s.DupKeys},
		{s.Clients > s.Connections, "%d clients are more than the %d TCP connections", s.Clients,
			s.Connections},
		{s.Home > s.Clients, "%d connections at home are more than the %d clients", s.Home,
			s.Clients},
		{s.QueuedBytes < 0, "the queues hold %d bytes, %d below nothing", int(s.QueuedBytes),
			-int(s.QueuedBytes)},
	} {
		if x.wrong {
			return fmt.Sprintf(x.text, x.a, x.b)
		}
	}
	return ""
}
