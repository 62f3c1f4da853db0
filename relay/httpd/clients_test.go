package httpd

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/relay"
	"derpd/relay/derp"
)

// clientsOf is a relay with these connections.
func clientsOf(all ...relay.ClientInfo) func() iter.Seq[relay.ClientInfo] {
	return func() iter.Seq[relay.ClientInfo] { return slices.Values(all) }
}

// someClients are five connections of four keys; IDs are in no order.
func someClients() []relay.ClientInfo {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	count := func(frames, bytes uint64) relay.KindCount { return relay.KindCount{Frames: frames, Bytes: bytes} }
	return []relay.ClientInfo{
		{ID: 50, Key: derp.Key{1}, Remote: at("192.0.2.1:100"), Login: 5, Since: since, Active: true,
			Home: true, Version: 2, Received: count(10, 100), Sent: count(1, 900)},
		{ID: 10, Key: derp.Key{2}, Remote: at("192.0.2.2:100"), Login: 1, Active: true, AppName: "cat",
			Received: count(20, 50), Sent: count(2, 800), Queued: 77},
		{ID: 40, Key: derp.Key{3}, Remote: at("[::ffff:192.0.2.1]:101"), Login: 3, Dup: true,
			Received: count(30, 100), Sent: count(3, 700)},
		{ID: 20, Key: derp.Key{3}, Remote: at("[2001:db8::1]:9"), Login: 2, Dup: true, Active: true,
			AppName: "<b>", Received: count(40, 7), Sent: count(4, 600)},
		{ID: 30, Key: derp.Key{4}, Remote: at("198.51.100.1:9"), Login: 4, Active: true, MeshPeer: true,
			Prober: true, NotIdeal: true, Received: count(50, 6), Sent: count(5, 500)},
	}
}

func askClients(t *testing.T, main http.Handler, query string) (p page) {
	t.Helper()
	r := ask(main, "GET", "/debug/clients/"+query, "127.0.0.1:1")
	body := bodyOf(t, r)
	if r.StatusCode != 200 {
		t.Fatalf("%s: %d %s", query, r.StatusCode, body)
	}
	var got struct { // derp.Key is written, but not read, as text
		Conns, Keys, Remaining int
		Next                   string
		Clients                []struct{ ConnNum uint64 }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%s: %v in %s", query, err, body)
	}
	p = page{Conns: got.Conns, Keys: got.Keys, Remaining: got.Remaining, Next: got.Next}
	for _, cl := range got.Clients {
		p.Clients = append(p.Clients, client{ConnNum: cl.ConnNum})
	}
	return p
}

func ids(p page) (all []uint64) {
	for _, c := range p.Clients {
		all = append(all, c.ConnNum)
	}
	return all
}

// TestClientsFilters: each filter and each order, with what comes of it.
func TestClientsFilters(t *testing.T) {
	c := testConfig()
	c.Clients = clientsOf(someClients()...)
	main := Main(c)
	key := derp.Key{3}
	for _, tc := range []struct {
		query string
		conns int
		ids   []uint64
	}{
		{"?format=json", 5, []uint64{50, 10, 20, 40, 30}},
		{"?all=1&format=json&sort=key", 5, []uint64{50, 10, 20, 40, 30}},
		{"?format=json&sort=-key", 5, []uint64{30, 40, 20, 10, 50}},
		{"?format=json&sort=conn", 5, []uint64{10, 20, 30, 40, 50}},
		{"?format=json&sort=-conn", 5, []uint64{50, 40, 30, 20, 10}},
		{"?format=json&sort=connected", 5, []uint64{10, 20, 40, 30, 50}},
		{"?format=json&sort=ip", 5, []uint64{50, 10, 30, 40, 20}},
		{"?format=json&sort=-rx", 5, []uint64{50, 40, 10, 20, 30}},
		{"?format=json&sort=rx", 5, []uint64{30, 20, 10, 40, 50}},
		{"?format=json&sort=tx", 5, []uint64{30, 20, 40, 10, 50}},
		{"?format=json&sort=-rxpkts", 5, []uint64{30, 20, 40, 10, 50}},
		{"?format=json&sort=-txpkts&limit=2", 5, []uint64{30, 20}},
		{"?format=json&ip=192.0.2.1", 2, []uint64{50, 40}},
		{"?format=json&ip=::ffff:192.0.2.1", 2, []uint64{50, 40}},
		{"?format=json&cidr=192.0.2.0/24", 3, []uint64{50, 10, 40}},
		{"?format=json&cidr=2001:db8::/32", 1, []uint64{20}},
		{"?format=json&key=" + key.String(), 2, []uint64{20, 40}},
		{"?format=json&app=cat", 1, []uint64{10}},
		{"?format=json&app=cat&app=%3Cb%3E", 2, []uint64{10, 20}},
		{"?format=json&app=&cidr=192.0.2.0/24", 2, []uint64{50, 40}},
		{"?format=json&ip=203.0.113.9", 0, nil},
	} {
		p := askClients(t, main, tc.query)
		if !slices.Equal(ids(p), tc.ids) || p.Conns != tc.conns ||
			p.Remaining != tc.conns-len(tc.ids) || (p.Next != "") != (p.Remaining > 0) {
			t.Errorf("%s: %v, %+v; want %v of %d", tc.query, ids(p), p, tc.ids, tc.conns)
		}
	}
	if p := askClients(t, main, "?format=json"); p.Keys != 4 {
		t.Errorf("%d keys, want 4", p.Keys)
	}
}

func TestClientsBadQueries(t *testing.T) {
	c := testConfig()
	c.Clients = clientsOf(someClients()...)
	for query, part := range map[string]string{
		"?ip=x": `"x"`, "?cidr=192.0.2.1": "192.0.2.1", "?key=nodekey:00": "nodekey:00",
		"?ip=192.0.2.1&cidr=192.0.2.0/24": "only one", "?all&ip=192.0.2.1": "only one",
		"?sort=name": `"name"`, "?limit=0": `"0"`, "?limit=x": `"x"`, "?format=xml": `"xml"`,
		"?after=x": `"x"`, "?sort=rx&after=-1": `"-1"`, "?sort=conn&after=x": `"x"`,
		"?sort=rx&after=1&afterconn=x": `"x"`, "?sort=ip&after=192.0.2.1": "192.0.2.1",
	} {
		r := ask(Main(c), "GET", "/debug/clients/"+query, "127.0.0.1:1")
		if body := bodyOf(t, r); r.StatusCode != 400 || !strings.Contains(body, part) {
			t.Errorf("%s: %d %q, want 400 with %q", query, r.StatusCode, body, part)
		}
	}
	if r := ask(Main(c), "GET", "/debug/clients/x", "127.0.0.1:1"); r.StatusCode != 404 {
		t.Errorf("a path below: %d", r.StatusCode)
	}
	c.Clients = nil
	for _, path := range []string{"/debug/clients/", "/debug/traffic"} {
		if r := ask(Main(c), "GET", path, "127.0.0.1:1"); r.StatusCode != 404 {
			t.Errorf("%s without DERP: %d", path, r.StatusCode)
		}
	}
}

// TestClientsPages: in every order, following "next" shows each connection once.
func TestClientsPages(t *testing.T) {
	var many []relay.ClientInfo
	for n := range uint64(57) {
		many = append(many, relay.ClientInfo{ID: n*29%57 + 1, Key: derp.Key{byte(n / 3)}, Login: int64(n % 10),
			Active: n%3 == 0, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n % 4)}), 9),
			Received: relay.KindCount{Frames: n % 7, Bytes: n % 5},
			Sent:     relay.KindCount{Frames: 3, Bytes: n}})
	}
	c := testConfig()
	c.Clients = clientsOf(many...)
	main := Main(c)
	for _, o := range orders {
		for _, down := range []string{"", "-"} {
			for _, limit := range []int{1, 10, 19, 57, 1000} {
				query := fmt.Sprintf("?format=json&debugkey=hidden&sort=%s%s&limit=%d", down, o.name, limit)
				var got []uint64
				for pages := 0; query != ""; pages++ {
					p := askClients(t, main, query)
					got = append(got, ids(p)...)
					if p.Conns != 57 || p.Remaining != 57-len(got) || pages > 57 ||
						strings.Contains(p.Next, "hidden") {
						t.Fatalf("%s: %d of %d seen, %+v", query, len(got), p.Conns, p)
					}
					query = p.Next
				}
				all := askClients(t, main, "?format=json&limit=1000&sort="+down+o.name)
				if !slices.Equal(got, ids(all)) || len(got) != 57 {
					t.Fatalf("sort=%s%s, %d a page: %v, want %v", down, o.name, limit, got, ids(all))
				}
			}
		}
	}
	// A place that was typed by hand leaves out all that have this value.
	p := askClients(t, main, "?format=json&sort=-rx&after=3&limit=1000")
	if p.Remaining != 0 || len(p.Clients) != 35 { // of 57, rx is 0, 1 or 2 for 12, 12 and 11
		t.Errorf("%d with rx below 3", len(p.Clients))
	}
}

// TestClientsForms: JSON has derper's names, HTML escapes what clients say of themselves.
func TestClientsForms(t *testing.T) {
	c := testConfig()
	c.Clients = clientsOf(someClients()...)
	r := ask(Main(c), "GET", "/debug/clients/?format=json&ip=192.0.2.1&limit=1", "127.0.0.1:1")
	var got map[string]any
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	first := got["clients"].([]any)[0].(map[string]any)
	for name, want := range map[string]any{"connNum": 50.0, "key": derp.Key{1}.String(),
		"remote": "192.0.2.1:100", "connectedAt": "2026-01-02T03:04:05Z", "connected": 0.0,
		"active": true, "dup": false, "home": true, "meshPeer": false, "notIdeal": false,
		"prober": false, "version": 2.0, "appName": "", "rxPkts": 10.0, "rxBytes": 100.0,
		"txPkts": 1.0, "txBytes": 900.0, "queuedBytes": 0.0} {
		if first[name] != want {
			t.Errorf("%s is %v, want %v", name, first[name], want)
		}
	}
	html := bodyOf(t, ask(Main(c), "GET", "/debug/clients/?sort=-rx&limit=4", "127.0.0.1:1"))
	for _, part := range []string{"4 of 5 connections", "rx ▼", "&lt;b&gt;", "dup-active",
		`href="?ip=192.0.2.1"`, "Next page", `sort=rx"`, `<td class="n">77</td>`} {
		if !strings.Contains(html, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if strings.Contains(html, "<b>") {
		t.Error("an app name became markup")
	}
}
