package httpd

import (
	"bufio"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"derpd/relay"
	"derpd/relay/derp"
)

// TestTrafficLooks: a look tells what each connection has moved since the last one.
func TestTrafficLooks(t *testing.T) {
	client := func(id uint64, received, sent uint64) relay.ClientInfo {
		return relay.ClientInfo{ID: id, Key: derp.Key{byte(id)},
			Received: relay.KindCount{Frames: received, Bytes: 10 * received},
			Sent:     relay.KindCount{Frames: sent, Bytes: 100 * sent}}
	}
	line := func(id uint64, received, sent uint64) moved {
		return moved{Key: derp.Key{byte(id)}, Recv: 10 * received, RecvPackets: received,
			Sent: 100 * sent, SentPackets: sent}
	}
	var w watch
	for i, step := range []struct {
		clients []relay.ClientInfo
		want    []moved
	}{
		{[]relay.ClientInfo{client(1, 5, 6), client(2, 7, 8)}, nil}, // what was before is no traffic
		{[]relay.ClientInfo{client(1, 5, 6), client(2, 7, 8)}, nil},
		{[]relay.ClientInfo{client(1, 6, 6), client(2, 7, 11)}, []moved{line(1, 1, 0), line(2, 0, 3)}},
		{[]relay.ClientInfo{client(2, 7, 11), client(3, 2, 0)}, []moved{line(3, 2, 0)}}, // 1 left, 3 came
		{[]relay.ClientInfo{client(1, 9, 9)}, []moved{line(1, 9, 9)}},
	} {
		var got []moved
		c := Config{Clients: clientsOf(step.clients...)}
		if err := w.look(c, func(m moved) error { got = append(got, m); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("look %d: %+v, want %+v", i, got, step.want)
		}
	}
	gone := errors.New("the watcher is gone")
	c := Config{Clients: clientsOf(client(1, 10, 9))}
	if err := w.look(c, func(moved) error { return gone }); err != gone {
		t.Errorf("a failing watcher: %v", err)
	}
}

// TestTraffic streams over a real connection, and stops looking when the watcher leaves.
func TestTraffic(t *testing.T) {
	c := testConfig()
	var looks atomic.Int64
	c.Clients = func() iter.Seq[relay.ClientInfo] {
		n := uint64(looks.Add(1))
		return slices.Values([]relay.ClientInfo{{ID: 1, Key: derp.Key{9},
			Received: relay.KindCount{Frames: n, Bytes: 7 * n}}})
	}
	srv := httptest.NewUnstartedServer(Main(c))
	// The deadlines of the server do not end the stream.
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 900*time.Millisecond, 900*time.Millisecond
	srv.Start()
	defer srv.Close()

	begun := time.Now()
	r, err := http.Get(srv.URL + "/debug/traffic?seconds=1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Sent": 0.0, "Recv": 7.0, "Key": derp.Key{9}.String(), "Remote": "",
		"SentPackets": 0.0, "RecvPackets": 1.0}
	lines := bufio.NewScanner(r.Body)
	var text []string
	for lines.Scan() {
		text = append(text, lines.Text())
	}
	r.Body.Close()
	if len(text) != 3 || text[0] != "" || text[2] != "" || time.Since(begun) < time.Second {
		t.Fatalf("%q after %v", text, time.Since(begun))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text[1]), &got); err != nil {
		t.Fatal(err)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}

	r, err = http.Get(srv.URL + "/debug/traffic")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	srv.Close() // waits for the handler, and fails the test by its deadline if it stays

	for _, query := range []string{"?seconds=0", "?seconds=x", "?seconds=601"} {
		if r := ask(Main(c), "GET", "/debug/traffic"+query, "127.0.0.1:1"); r.StatusCode != 400 {
			t.Errorf("%s: %d", query, r.StatusCode)
		}
	}
}
