package interop

import (
	"crypto/tls"
	"fmt"
	"slices"
	"testing"

	"derpd/interop/harness"
)

// TestOneStateDirectory replaces derper by derpd and back on one key file and one certificate
// directory: clients see the same server and the same certificate, monitoring the same names.
func TestOneStateDirectory(t *testing.T) {
	t.Parallel()
	if harness.Under() != harness.Derpd {
		t.Skip("starts both kinds itself")
	}
	first, args := harness.Prepare(t, harness.Options{Kind: harness.Derper, TLS: true})
	var server, leaf string
	var names []string
	for i, kind := range []harness.Kind{harness.Derper, harness.Derpd, harness.Derper} {
		r, _ := harness.Prepare(t, harness.Options{Kind: kind, TLS: true})
		r.Addr, r.STUNAddr, r.Certs, r.Dir = first.Addr, first.STUNAddr, first.Certs, first.Dir
		r.Run(t, args)
		p := r.Login(t)
		p.Ping(t)
		state := p.Conn.(*tls.Conn).ConnectionState()
		key, cert := fmt.Sprint(p.ServerPublicKey()), string(state.PeerCertificates[0].Raw)
		metrics := metricNames(r.Metrics(t))
		switch {
		case i == 0:
			server, leaf, names = key, cert, metrics
		case key != server:
			t.Errorf("%s has server key %s, the one before %s", kind, key, server)
		case cert != leaf:
			t.Errorf("%s serves another certificate than the one before", kind)
		}
		for _, name := range names {
			if !slices.Contains(metrics, name) {
				t.Errorf("%s lacks the metric %s", kind, name)
			}
		}
		r.Stop(t)
	}
}
