package relay

import (
	"bytes"
	"crypto/tls"
	"net"
	"runtime"
	"strings"
	"testing"
	"weak"

	"derpd/relay/derp"
	"derpd/tlsengine"
)

// TestHandshakeIsForgotten: of what came along with a handshake nothing stays for as long as the
// connection is one of HTTP.
func TestHandshakeIsForgotten(t *testing.T) {
	client, server, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256,
		make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	hs := &oneFlight{session: server}
	_, ds, work := newDoubles(t, 1, Config{NewHandshake: func(_, _ net.Addr) Handshaker { return hs }})
	d := ds[0]
	cl := &doubleClient{d: d, h: d.accept(), tls: &client}
	in := simRecord(nil, 1, make([]byte, 40))
	for range 3 { // more than a worker opens
		in = append(in, cl.seal([]byte("GET /?"+strings.Repeat("x", aheadBytesMax)))...)
	}
	d.l.Received(cl.h, in)
	(*work)[0]()
	behind := weak.Make(&hs.rest[0])
	hs.rest, *work = nil, nil
	d.settle()
	runtime.GC()
	c := d.l.at(cl.h)
	if c.state == nil || c.state.Version != tls.VersionTLS13 {
		t.Fatal("the connection has no TLS state: nothing is tested")
	}
	if behind.Value() != nil {
		t.Error("what the client sent behind its handshake is still held")
	}
	runtime.KeepAlive(c)
}

// oneFlight is a handshake that is over when a hello has come: what follows it is data.
type oneFlight struct {
	session tlsengine.Session
	rest    []byte
}

func (h *oneFlight) Step(in []byte) (out []byte, done bool, err error) {
	n, _ := helloLen(in)
	h.rest = bytes.Clone(in[n:])
	return nil, true, nil
}

func (h *oneFlight) Finish(s *tlsengine.Session) ([]byte, tls.ConnectionState, error) {
	*s = h.session
	return h.rest, tls.ConnectionState{Version: s.Version()}, nil
}

func (h *oneFlight) Stop() {}

// TestLoginBehindTheHandshake: a login that comes with the last flight is opened by the worker
// that ends the handshake; one that does not come whole, or not at once, is opened later.
func TestLoginBehindTheHandshake(t *testing.T) {
	const fast = "GET /derp HTTP/1.1\r\nHost: relay\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n"
	self := testKey(3).Public()
	packet := derp.AppendSendPacket(nil, self, testPacket(1))
	bad := bytes.Repeat([]byte{7}, 200)
	for name, tc := range map[string]struct {
		records func(info []byte) []string // behind the hello
		broken  int                        // index of the record that does not authenticate; -1: none
		later   func(info []byte) string   // sent when the handshake is over
		works   int                        // pieces of work for the login
		packets uint64
		end     Reason // if it has to end
		logins  uint64
	}{
		"in one record": {records: func(i []byte) []string { return []string{fast + string(i)} },
			broken: -1, logins: 1},
		"in two records": {records: func(i []byte) []string { return []string{fast, string(i)} },
			broken: -1, logins: 1},
		"packets behind": {records: func(i []byte) []string {
			return []string{fast + string(i) + string(packet), string(packet)}
		}, broken: -1, logins: 1, packets: 2},
		"many packets behind": {records: func(i []byte) []string {
			return []string{fast + string(i) + string(bytes.Repeat(packet, 4)),
				string(bytes.Repeat(packet, 4))}
		}, broken: -1, logins: 1, packets: 8},
		"in part": {records: func(i []byte) []string { return []string{fast + string(i[:50])} },
			later:  func(i []byte) string { return string(i[50:]) },
			broken: -1, works: 1, logins: 1},
		"later": {records: func([]byte) []string { return nil },
			later:  func(i []byte) string { return fast + string(i) },
			broken: -1, works: 1, logins: 1},
		"bad box": {records: func([]byte) []string {
			return []string{fast + string(derp.AppendHeader(nil, derp.FrameClientInfo, len(bad))) +
				string(bad)}
		}, broken: -1, end: EndLoginBox},
		"bad record": {records: func(i []byte) []string { return []string{fast, string(i)} },
			broken: 1, end: EndBadRecord},
	} {
		t.Run(name, func(t *testing.T) {
			client, server, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256,
				make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			s, ds, work := newDoubles(t, 1, Config{NewHandshake: func(_, _ net.Addr) Handshaker {
				return &oneFlight{session: server}
			}})
			d := ds[0]
			cl := &doubleClient{d: d, h: d.accept(), tls: &client}
			info, _ := clientInfo(t, testKey(3), s.Public())
			in := simRecord(nil, 1, make([]byte, 40))
			for i, text := range tc.records(info) {
				rec := cl.seal([]byte(text))
				if i == tc.broken {
					rec[len(rec)-1] ^= 1
				}
				in = append(in, rec...)
			}
			d.l.Received(cl.h, in)
			d.l.Flush()
			if len(*work) != 1 {
				t.Fatalf("%d pieces of work for the handshake, want 1", len(*work))
			}
			(*work)[0]()
			d.settle()
			if tc.later != nil {
				d.l.Received(cl.h, cl.seal([]byte(tc.later(info))))
				d.l.Flush()
			}
			if got := len(*work) - 1; got != tc.works {
				t.Fatalf("%d more pieces of work for the login, want %d", got, tc.works)
			}
			for _, fn := range (*work)[1:] {
				fn()
			}
			d.settle()
			n := d.counted()
			if n.Logins != tc.logins {
				t.Errorf("%d logins, want %d", n.Logins, tc.logins)
			}
			if tc.logins == 0 && n.Ends[tc.end] != 1 {
				t.Errorf("did not end by %v: %v", tc.end, n.Ends)
			}
			if got := n.PacketsReceived[0] + n.PacketsReceived[1]; got != tc.packets {
				t.Errorf("%d packets received, want %d", got, tc.packets)
			}
			if n.InHandshake != 0 {
				t.Errorf("%d handshakes still count as under way", n.InHandshake)
			}
		})
	}
}
