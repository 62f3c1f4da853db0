package httpd

import (
	"html/template"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"derpd/relay"
	"derpd/relay/derp"
)

// client is one connection on the page, under derper's names in JSON.
type client struct {
	ConnNum     uint64         `json:"connNum"`
	Key         derp.Key       `json:"key"`
	Remote      netip.AddrPort `json:"remote"`
	ConnectedAt time.Time      `json:"connectedAt"`
	Connected   time.Duration  `json:"connected"` // nanoseconds
	Active      bool           `json:"active"`    // the key's packets go to this connection
	Dup         bool           `json:"dup"`       // the key has others
	Home        bool           `json:"home"`
	MeshPeer    bool           `json:"meshPeer"`
	NotIdeal    bool           `json:"notIdeal"`
	Prober      bool           `json:"prober"`
	Version     int            `json:"version"`
	AppName     string         `json:"appName"`
	RxPkts      uint64         `json:"rxPkts"` // packets from the client
	RxBytes     uint64         `json:"rxBytes"`
	TxPkts      uint64         `json:"txPkts"`
	TxBytes     uint64         `json:"txBytes"`
	QueuedBytes int            `json:"queuedBytes"` // waiting to be sent; ours
}

func newClient(c *relay.ClientInfo) client {
	return client{ConnNum: c.ID, Key: c.Key, Remote: c.Remote,
		ConnectedAt: c.Since, Connected: c.Age, Active: c.Active, Dup: c.Dup, Home: c.Home,
		MeshPeer: c.MeshPeer, NotIdeal: c.NotIdeal, Prober: c.Prober, Version: c.Version,
		AppName: c.AppName, RxPkts: c.Received.Frames, RxBytes: c.Received.Bytes,
		TxPkts: c.Sent.Frames, TxBytes: c.Sent.Bytes, QueuedBytes: c.Queued}
}

// page is what a query gives.
type page struct {
	Conns     int      `json:"conns"`     // that match, before and behind the page too
	Keys      int      `json:"keys"`      // whose active connection is one of them
	Remaining int      `json:"remaining"` // behind the page
	Next      string   `json:"next,omitzero"`
	Clients   []client `json:"clients"`

	query *clientsQuery
}

// collect walks all connections and keeps the page: twice its length at most, so that a relay
// with a million clients needs no list of them.
func (q *clientsQuery) collect(c Config) page {
	p := page{query: q, Clients: []client{}}
	var best []relay.ClientInfo
	trim := func() {
		slices.SortFunc(best, func(a, b relay.ClientInfo) int { return q.compare(&a, &b) })
		best = best[:min(len(best), q.limit)]
	}
	behind := 0 // the place that the page starts at
	for cl := range c.Clients() {
		if !q.matches(&cl) {
			continue
		}
		p.Conns++
		if cl.Active { // just one connection of a key is
			p.Keys++
		}
		if q.after != nil && q.compare(&cl, q.after) <= 0 {
			continue
		}
		behind++
		if best = append(best, cl); len(best) >= 2*q.limit {
			trim()
		}
	}
	trim()
	for i := range best {
		p.Clients = append(p.Clients, newClient(&best[i]))
	}
	if p.Remaining = behind - len(best); p.Remaining > 0 {
		p.Next = q.next(&best[len(best)-1])
	}
	return p
}

// clients lists who is connected, as HTML or, with format=json, as JSON.
func (c Config) clients(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/debug/clients/" {
		http.NotFound(w, r)
		return
	}
	if c.Clients == nil {
		http.Error(w, "there are no clients without DERP", http.StatusNotFound)
		return
	}
	q, err := parseClients(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p := q.collect(c)
	if q.json {
		writeJSON(w, p)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	clientsHTML.Execute(w, p)
}

// Heads are the columns that can be sorted by.
func (p page) Heads() (heads []struct{ Name, Link string }) {
	for _, name := range []string{"key", "ip", "connected", "rxpkts", "rx", "txpkts", "tx"} {
		text := name
		if name == p.query.order.name {
			text += map[bool]string{false: " ▲", true: " ▼"}[p.query.down]
		}
		heads = append(heads, struct{ Name, Link string }{text, p.query.sorted(name)})
	}
	return heads
}

// Age is how long a connection has been there.
func (c client) Age() time.Duration { return round(c.Connected) }

// Address is where the client is.
func (c client) Address() netip.Addr { return c.Remote.Addr().Unmap() }

var clientsHTML = template.Must(template.New("clients").Parse(`<!doctype html>
<html><head><title>derpd clients</title><style>
table { border-collapse: collapse; font-family: monospace }
th, td { border: 1px solid #ccc; padding: 2px 6px; text-align: left }
td.n { text-align: right }
</style></head><body><h1>clients</h1>
<form><a href="./">all</a>
address <input name="ip" size="20"> <button>find</button></form>
<form>range <input name="cidr" size="20" placeholder="192.0.2.0/24"> <button>find</button></form>
<form>key <input name="key" size="72" placeholder="nodekey:…"> <button>find</button></form>
<form>app <input name="app" size="20"> <button>find</button></form>
<p>{{len .Clients}} of {{.Conns}} connections, {{.Remaining}} more behind these.
{{if .Next}}<a href="{{.Next}}">Next page</a>{{end}}</p>
<table><tr>{{range .Heads}}<th><a href="{{.Link}}">{{.Name}}</a></th>{{end}}
<th>queued</th><th>is</th><th>app</th><th>version</th></tr>
{{range .Clients}}<tr><td><a href="?key={{.Key}}">{{.Key}}</a></td>
<td><a href="?ip={{.Address}}">{{.Remote}}</a></td><td>{{.Age}}</td>
<td class="n">{{.RxPkts}}</td><td class="n">{{.RxBytes}}</td>
<td class="n">{{.TxPkts}}</td><td class="n">{{.TxBytes}}</td><td class="n">{{.QueuedBytes}}</td>
<td>{{if .Home}}home {{end}}{{if .MeshPeer}}mesh {{end}}{{if .Prober}}prober {{end -}}
{{if .NotIdeal}}not-ideal {{end}}{{if .Dup}}{{if .Active}}dup-active{{else}}dup{{end}}{{end}}</td>
<td>{{if .AppName}}<a href="?app={{.AppName}}">{{.AppName}}</a>{{end}}</td><td>{{.Version}}</td>
</tr>
{{end}}</table></body></html>
`))
