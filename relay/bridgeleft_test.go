package relay

import (
	"bytes"
	"crypto/tls"
	"testing"

	"derpd/relay/upgrade"
	"derpd/tlsengine"
)

// TestBridgeUpgradeOfWhoHasLeft: a client that ends its stream while its upgrade is with the HTTP
// server does not become one that is connected and not there.
func TestBridgeUpgradeOfWhoHasLeft(t *testing.T) {
	for name, leave := range map[string]func(cl *doubleClient){
		"FIN":          func(cl *doubleClient) { cl.d.l.Received(cl.h, nil) },
		"close_notify": func(cl *doubleClient) { cl.d.l.Received(cl.h, cl.tls.AppendClose(nil)) },
		"stays":        func(*doubleClient) {},
	} {
		s, ds, work := newDoubles(t, 1, Config{})
		d := ds[0]
		client, server, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256,
			make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		cl := &doubleClient{d: d, h: d.accept(), tls: &client}
		c := d.l.at(cl.h)
		c.tls = &server
		b := &bridge{loop: d.l, h: cl.h}
		b.changed.L = &b.mu
		c.bridge, c.phase = b, phaseHTTP // without the goroutine of net/http
		s.shared.http.Add(1)
		d.l.n.InHTTP++
		info, _ := clientInfo(t, testKey(3), s.Public())
		b.busy = true
		d.l.control(c, []byte("answer")) // to an earlier request
		leave(cl)
		d.keep = true
		b.resume(upgrade.Verdict{Kind: upgrade.DERP, Fast: true}, nil, info)
		d.settle()
		sent := d.take()
		first, _ := tlsengine.RecordLen(sent)
		if got := cl.open(t, sent[:first]); !bytes.HasPrefix(got, []byte("answer")) {
			t.Errorf("%s: %q was sent first", name, got)
		}
		gone, n := name != "stays", d.counted()
		if gone != d.slots[cl.h.Slot()].closed || gone != (n.Ends[EndPeerClosed] == 1) ||
			gone != (len(*work) == 0) || n.InHTTP != 0 || s.shared.http.Load() != 0 {
			t.Errorf("%s: closed %v, %d ended for %v, %d logins under way, %d with HTTP", name,
				d.slots[cl.h.Slot()].closed, n.Ends[EndPeerClosed], EndPeerClosed, len(*work), n.InHTTP)
		}
	}
}
