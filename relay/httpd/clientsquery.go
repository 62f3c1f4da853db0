package httpd

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"derpd/relay"
	"derpd/relay/derp"
)

const (
	clientsPage    = 100  // connections on a page, unless ?limit= says otherwise; derper's
	clientsPageMax = 1000 // at most, as derper's
)

// order is one way to sort connections: its name in ?sort=, how it compares, and how a
// connection's place in it is written in ?after= and read again.
type order struct {
	name    string
	compare func(a, b *relay.ClientInfo) int
	place   func(c *relay.ClientInfo) string
	at      func(c *relay.ClientInfo, place string) error // sets what compare looks at
}

// orders are derper's, by name.
var orders = []order{
	{"key", func(a, b *relay.ClientInfo) int { return bytes.Compare(a.Key[:], b.Key[:]) },
		func(c *relay.ClientInfo) string { return c.Key.String() },
		func(c *relay.ClientInfo, s string) (err error) {
			c.Key, err = derp.ParseKey(s)
			return err
		}},
	{"ip", func(a, b *relay.ClientInfo) int { return a.Remote.Compare(b.Remote) },
		func(c *relay.ClientInfo) string { return c.Remote.String() },
		func(c *relay.ClientInfo, s string) (err error) {
			c.Remote, err = netip.ParseAddrPort(s)
			return err
		}},
	{"conn", func(a, b *relay.ClientInfo) int { return 0 }, // the ID decides what is equal
		func(c *relay.ClientInfo) string { return strconv.FormatUint(c.ID, 10) },
		func(*relay.ClientInfo, string) error { return nil }},
	{"connected", func(a, b *relay.ClientInfo) int { return cmp.Compare(a.Login, b.Login) },
		func(c *relay.ClientInfo) string { return strconv.FormatInt(c.Login, 10) },
		func(c *relay.ClientInfo, s string) (err error) {
			c.Login, err = strconv.ParseInt(s, 10, 64)
			return err
		}},
	counterOrder("rx", func(c *relay.ClientInfo) *uint64 { return &c.Received.Bytes }),
	counterOrder("tx", func(c *relay.ClientInfo) *uint64 { return &c.Sent.Bytes }),
	counterOrder("rxpkts", func(c *relay.ClientInfo) *uint64 { return &c.Received.Frames }),
	counterOrder("txpkts", func(c *relay.ClientInfo) *uint64 { return &c.Sent.Frames }),
}

func counterOrder(name string, of func(*relay.ClientInfo) *uint64) order {
	return order{name,
		func(a, b *relay.ClientInfo) int { return cmp.Compare(*of(a), *of(b)) },
		func(c *relay.ClientInfo) string { return strconv.FormatUint(*of(c), 10) },
		func(c *relay.ClientInfo, s string) (err error) {
			*of(c), err = strconv.ParseUint(s, 10, 64)
			return err
		}}
}

// clientsQuery is a request for a page of connections.
type clientsQuery struct {
	params url.Values // as given, for links

	ip   netip.Addr
	cidr netip.Prefix
	key  derp.Key
	apps []string // any of these; empty: all. "" is a client that gave none.

	order order
	down  bool
	limit int
	after *relay.ClientInfo // the page starts behind its place; nil: at the beginning
	json  bool
}

// parseClients reads the query. With nothing to filter by, which derper answers with a page of
// forms, it asks for all.
func parseClients(r *http.Request) (*clientsQuery, error) {
	v := r.URL.Query()
	q := &clientsQuery{params: v, limit: clientsPage, order: orders[0], apps: v["app"]}
	switch f := v.Get("format"); f {
	case "", "html":
	case "json":
		q.json = true
	default:
		return nil, fmt.Errorf("bad format %q: use html or json", f)
	}
	if err := q.parseFilter(v); err != nil {
		return nil, err
	}
	if s := v.Get("sort"); s != "" {
		name, down := strings.CutPrefix(s, "-")
		i := slices.IndexFunc(orders, func(o order) bool { return o.name == name })
		if i < 0 {
			return nil, fmt.Errorf("bad sort %q: use key, ip, conn, connected, rx, tx, rxpkts or "+
				"txpkts, with - in front for the largest first", s)
		}
		q.order, q.down = orders[i], down
	}
	if s := v.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("bad limit %q: use 1 to %d", s, clientsPageMax)
		}
		q.limit = min(n, clientsPageMax)
	}
	return q, q.parseAfter(v)
}

func (q *clientsQuery) parseFilter(v url.Values) (err error) {
	given := 0
	for name, parse := range map[string]func(string) error{
		"ip":   func(s string) error { q.ip, err = netip.ParseAddr(s); return err },
		"cidr": func(s string) error { q.cidr, err = netip.ParsePrefix(s); return err },
		"key":  func(s string) error { q.key, err = derp.ParseKey(s); return err },
	} {
		s := v.Get(name)
		if s == "" {
			continue
		}
		given++
		if err := parse(s); err != nil {
			return fmt.Errorf("bad %s %q: %w", name, s, err)
		}
	}
	if v.Has("all") {
		given++
	}
	if given > 1 {
		return fmt.Errorf("only one of all, ip, cidr and key may be given")
	}
	q.ip = q.ip.Unmap()
	return nil
}

// parseAfter reads the place that the page starts behind: ?after= is a value of the order,
// ?afterconn= the connection that had it. Without the latter all with that value are left out.
func (q *clientsQuery) parseAfter(v url.Values) error {
	s := v.Get("after")
	if s == "" {
		return nil
	}
	id := v.Get("afterconn")
	if q.order.name == "conn" {
		id = s
	}
	q.after = new(relay.ClientInfo)
	if err := q.order.at(q.after, s); err != nil {
		return fmt.Errorf("bad after %q with sort=%s: %w", s, q.order.name, err)
	}
	if id == "" {
		if q.after.ID = ^uint64(0); q.down {
			q.after.ID = 0
		}
		return nil
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("bad connection %q: use the number that a page gave", id)
	}
	q.after.ID = n
	return nil
}

// matches reports whether the filters let a connection through.
func (q *clientsQuery) matches(c *relay.ClientInfo) bool {
	from := c.Remote.Addr().Unmap()
	switch {
	case q.ip.IsValid() && from != q.ip, q.cidr.IsValid() && !q.cidr.Contains(from),
		!q.key.IsZero() && c.Key != q.key:
		return false
	}
	return len(q.apps) == 0 || slices.Contains(q.apps, c.AppName)
}

// compare orders connections as the page shows them; no two are equal.
func (q *clientsQuery) compare(a, b *relay.ClientInfo) int {
	d := cmp.Or(q.order.compare(a, b), cmp.Compare(a.ID, b.ID))
	if q.down {
		return -d
	}
	return d
}

// link returns a query like this one with other values; an empty one takes a parameter away.
func (q *clientsQuery) link(set map[string]string) string {
	v := url.Values{}
	for name, values := range q.params {
		if name != "debugkey" { // a secret stays out of what is shown
			v[name] = values
		}
	}
	for name, s := range set {
		if v.Del(name); s != "" {
			v.Set(name, s)
		}
	}
	return "?" + v.Encode()
}

// next is the query for the page behind the one that ends with last.
func (q *clientsQuery) next(last *relay.ClientInfo) string {
	id := strconv.FormatUint(last.ID, 10)
	if q.order.name == "conn" {
		id = ""
	}
	return q.link(map[string]string{"after": q.order.place(last), "afterconn": id})
}

// sorted is the query for the first page in another order: the other way round if it is this
// one, and the largest first for what counts traffic.
func (q *clientsQuery) sorted(name string) string {
	sort := name
	if name == q.order.name && !q.down || name != q.order.name && isTraffic(name) {
		sort = "-" + name
	}
	return q.link(map[string]string{"sort": sort, "after": "", "afterconn": ""})
}

func isTraffic(order string) bool {
	return slices.Contains([]string{"rx", "tx", "rxpkts", "txpkts"}, order)
}

// round makes ages readable.
func round(d time.Duration) time.Duration {
	if d > time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}
