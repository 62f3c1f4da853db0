package httpd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"derpd/relay"
	"derpd/relay/derp"
)

const (
	trafficEvery   = 2 * time.Second  // between looks, as derper's
	trafficFor     = time.Minute      // unless ?seconds= says otherwise
	trafficMax     = 10 * time.Minute // a forgotten watcher must not walk all clients for ever
	trafficWriting = 10 * time.Second // a watcher that takes nothing for so long is cut
)

// moved is what one connection moved between two looks: a line of /debug/traffic. Sent and Recv
// are derper's names; Sent is what the relay sent to the client. Bytes are those of packets,
// without keys and headers.
type moved struct {
	Sent        uint64
	Recv        uint64
	Key         derp.Key
	Remote      netip.AddrPort
	SentPackets uint64
	RecvPackets uint64
}

// counted is how far a connection's counters stood at a look.
type counted struct{ received, sent relay.KindCount }

// watch holds the counters of the last look.
type watch struct{ last map[uint64]counted }

// look tells what each connection has moved since the last look; a connection that is new since
// then, all it has moved. Those that moved nothing are left out.
func (t *watch) look(c Config, tell func(moved) error) error {
	first := t.last == nil
	now := make(map[uint64]counted, len(t.last))
	for cl := range c.Clients() {
		was := t.last[cl.ID]
		now[cl.ID] = counted{cl.Received, cl.Sent}
		m := moved{Key: cl.Key, Remote: cl.Remote,
			Sent: cl.Sent.Bytes - was.sent.Bytes, Recv: cl.Received.Bytes - was.received.Bytes,
			SentPackets: cl.Sent.Frames - was.sent.Frames,
			RecvPackets: cl.Received.Frames - was.received.Frames}
		if first || m.SentPackets+m.RecvPackets == 0 {
			continue
		}
		if err := tell(m); err != nil {
			return err
		}
	}
	t.last = now
	return nil
}

// traffic streams what connections move, a JSON object a line and an empty line behind each
// look, for a minute or ?seconds=, or until the watcher leaves.
func (c Config) traffic(w http.ResponseWriter, r *http.Request) {
	if c.Clients == nil {
		http.Error(w, "there are no clients without DERP", http.StatusNotFound)
		return
	}
	lasting := trafficFor
	if s := r.URL.Query().Get("seconds"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > int(trafficMax/time.Second) {
			http.Error(w, fmt.Sprintf("bad seconds %q: use 1 to %d", s, trafficMax/time.Second),
				http.StatusBadRequest)
			return
		}
		lasting = time.Duration(n) * time.Second
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	out := http.NewResponseController(w)
	out.SetReadDeadline(time.Time{}) // the server's would end the request before its time
	var t watch
	lines := json.NewEncoder(w)
	end := time.Now().Add(lasting) // before the ticker, or its last tick would not be the end
	tick := time.NewTicker(min(trafficEvery, lasting))
	defer tick.Stop()
	for {
		out.SetWriteDeadline(time.Now().Add(trafficWriting))
		if err := t.look(c, func(m moved) error { return lines.Encode(m) }); err != nil {
			return
		}
		if _, err := w.Write([]byte{'\n'}); err != nil || out.Flush() != nil {
			return
		}
		if !time.Now().Before(end) {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
