package httpd

import (
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"derpd/relay"
	"derpd/relay/derp"
)

// FuzzClientsQuery: a query is refused with what is wrong, or understood; the links of its page
// are queries that mean the same, but for what they change.
func FuzzClientsQuery(f *testing.F) {
	for _, q := range []string{"", "all=1&format=json", "ip=198.51.100.7&sort=-rx&limit=5",
		"cidr=2001:db8::/32&sort=ip&after=[2001:db8::1]:443&afterconn=7", "app=a&app=&app=b",
		"key=nodekey:" + strings.Repeat("0a", 32) + "&debugkey=secret", "sort=conn&after=12",
		"sort=key&after=nodekey:" + strings.Repeat("ff", 32), "limit=0", "ip=fe80::1%25eth0&all",
		"sort=connected&after=-5", "%zz&;=a", "ip=::ffff:192.0.2.1"} {
		f.Add(q)
	}
	last := relay.ClientInfo{ID: 77, Key: derp.Key{1, 2, 3}, Login: 1_700_000_000_000,
		Remote: netip.MustParseAddrPort("[2001:db8::9]:41641"), AppName: "a&b=c"}
	last.Received.Frames, last.Received.Bytes = 3, 1<<63
	f.Fuzz(func(t *testing.T, query string) {
		parse := func(raw string) (*clientsQuery, error) {
			return parseClients(&http.Request{URL: &url.URL{RawQuery: raw}})
		}
		q, err := parse(query)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%q is refused without a word", query)
			}
			return
		}
		if q.limit < 1 || q.limit > clientsPageMax || q.order.compare == nil {
			t.Fatalf("%q: a page of %d, ordered by %q", query, q.limit, q.order.name)
		}
		again := func(link string) *clientsQuery {
			t.Helper()
			raw, ok := strings.CutPrefix(link, "?")
			v, err := url.ParseQuery(raw)
			if !ok || err != nil || v.Has("debugkey") {
				t.Fatalf("%q: a link to %q, %v", query, link, err)
			}
			p, err := parse(raw)
			if err != nil {
				t.Fatalf("%q: its own link %q is refused: %v", query, link, err)
			}
			if p.ip != q.ip || p.cidr != q.cidr || p.key != q.key || p.limit != q.limit ||
				p.json != q.json || !slices.Equal(p.apps, q.apps) {
				t.Fatalf("%q: the link %q is to others: %+v, want %+v", query, link, p, q)
			}
			return p
		}
		same := again(q.link(nil))
		if same.order.name != q.order.name || same.down != q.down ||
			!reflect.DeepEqual(same.after, q.after) {
			t.Fatalf("%q: the link to itself is %+v, want %+v", query, same, q)
		}
		if next := again(q.next(&last)); next.order.name != q.order.name || next.down != q.down ||
			next.after == nil || next.compare(next.after, &last) != 0 {
			t.Fatalf("%q: the next page begins behind %+v, want %+v", query, next.after, last)
		}
		for _, o := range orders {
			if p := again(q.sorted(o.name)); p.order.name != o.name || p.after != nil {
				t.Fatalf("%q: sorted by %s it is %+v", query, o.name, p)
			}
		}
		q.matches(&last)
	})
}
