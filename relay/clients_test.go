package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// clientsByLogin collects the walk, oldest connection first.
func (r *liveRelay) clientsByLogin() []ClientInfo {
	return slices.SortedFunc(r.Clients(), func(a, b ClientInfo) int {
		return int(a.Login - b.Login)
	})
}

// TestClients: each connection is described once, with what it is and what it has moved.
func TestClients(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		if all := r.clientsByLogin(); len(all) > 0 {
			t.Fatalf("without clients: %+v", all)
		}
		first, peer := r.login(t, 1), r.login(t, 2)
		for n := range 3 {
			if err := exchange(first, peer, testPacket(n)); err != nil {
				t.Fatal(err)
			}
		}
		r.login(t, 1)
		r.stream(t) // connected, and no client
		all := r.clientsByLogin()
		if len(all) != 3 {
			t.Fatalf("%d clients, want 3: %+v", len(all), all)
		}
		bytes := uint64(0)
		for n := range 3 {
			bytes += uint64(len(testPacket(n)))
		}
		for i, want := range []struct {
			client         *wireClient
			active, dup    bool
			received, sent KindCount
		}{
			{first, false, true, KindCount{3, bytes}, KindCount{}},
			{peer, true, false, KindCount{}, KindCount{3, bytes}},
			{first, true, true, KindCount{}, KindCount{}},
		} {
			got := all[i]
			if got.Key != want.client.pub || got.Active != want.active || got.Dup != want.dup ||
				got.Received != want.received || got.Sent != want.sent || got.Home ||
				got.MeshPeer || got.Prober || got.NotIdeal || got.Version != 2 || got.Queued != 0 {
				t.Errorf("client %d is %+v, want %+v", i, got, want)
			}
			if got.Age < 0 || got.Age > patience || time.Since(got.Since) > patience {
				t.Errorf("client %d logged in %v ago, at %v", i, got.Age, got.Since)
			}
		}
		if at := netip.MustParseAddrPort(first.LocalAddr().String()); all[0].Remote != at {
			t.Errorf("the first is at %v, want %v", all[0].Remote, at)
		}
		if all[0].ID == all[1].ID || all[0].ID == all[2].ID || all[1].ID == all[2].ID {
			t.Errorf("an ID stands for two: %+v", all)
		}
	})
}

// TestClientsInParts: a table of several parts is walked whole, and the walk can end early and
// does at a relay that has stopped.
func TestClientsInParts(t *testing.T) { onEngines(t, testClientsInParts) }

func testClientsInParts(t *testing.T) {
	d := &loopDouble{}
	s := New(Config{Submit: func(func()) {}})
	t.Cleanup(s.Close)
	h := s.Attach(d, 1)
	d.l = h.(*loop)
	const clients = 2*walkSlots + 10
	for n := range clients {
		c := &conn{}
		if n%2 == 0 { // every other slot is no client's
			c.client = &client{loop: d.l}
			key := [32]byte{byte(n), byte(n >> 8), 1}
			c.client.key = key
			c.client.route, _ = s.keys.Add(&key, c.client)
		}
		d.l.conns = append(d.l.conns, c, nil)
	}
	parts, seen := 0, 0
	for from, more := 0, true; more; from += walkSlots {
		var part []ClientInfo
		part, more = d.l.describe(nil, from)
		parts++
		seen += len(part)
	}
	if want := 2*clients/walkSlots + 1; parts != want || seen != clients/2 {
		t.Errorf("%d clients in %d parts, want %d in %d", seen, parts, clients/2, want)
	}
	if part, more := d.l.describe(nil, 5*clients); part != nil || more {
		t.Errorf("beyond the table: %v, %v", part, more)
	}

	r := startLive(t, false, Config{})
	r.login(t, 1)
	r.login(t, 2)
	for range r.Clients() {
		break
	}
	r.halt(t)
	if n := len(r.clientsByLogin()); n != 0 {
		t.Errorf("%d clients of a relay that has stopped", n)
	}
}
