package front

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"derpd/relay/derp"
)

func newKey(t testing.TB) derp.PrivateKey {
	t.Helper()
	k, err := derp.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// flight is a request with a login behind it, as with fast start, and the secret of the answer.
func flight(t testing.TB, client, relay derp.PrivateKey, fast string) ([]byte, derp.Shared) {
	t.Helper()
	head := "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\n" + fast + "\r\n"
	b, shared, err := derp.AppendClientInfo([]byte(head), client, relay.Public(),
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	return b, shared
}

// run gives a login its bytes in pieces of that size and joins what it makes of them.
func run(t testing.TB, cfg *Config, in []byte, piece int) (all Step, err error) {
	t.Helper()
	var l Login
	var counts Counters
	for end := 0; end < len(in) && !all.In && !all.Last; {
		end = min(end+piece, len(in))
		for {
			s, err := l.Next(cfg, &counts, in[all.Used:end])
			if err != nil {
				return all, err
			}
			all.Used += s.Used
			all.Reply = append(all.Reply, s.Reply...)
			all.In, all.Last, all.Key = s.In, s.Last, s.Key
			if s.Used == 0 || s.In || s.Last {
				break
			}
		}
	}
	return all, nil
}

func TestLogin(t *testing.T) {
	client, cfg := newKey(t), &Config{Key: newKey(t)}
	for _, fast := range []string{"", "Derp-Fast-Start: 1\r\n"} {
		in, shared := flight(t, client, cfg.Key, fast)
		in = derp.AppendPing(in, [derp.PingLen]byte{}) // not the login's
		for piece := 1; piece <= len(in); piece += 7 {
			s, err := run(t, cfg, in, piece)
			if err != nil || !s.In || s.Key != client.Public() ||
				s.Used != len(in)-derp.HeaderLen-derp.PingLen {
				t.Fatalf("in pieces of %d: %+v, %v", piece, s, err)
			}
			reply := s.Reply
			if fast == "" {
				head, frames, ok := bytes.Cut(reply, []byte("\r\n\r\n"))
				if !ok || !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
					t.Fatalf("the answer is %q", reply)
				}
				reply = frames
			}
			greeting := derp.AppendServerKey(nil, cfg.Key.Public())
			info, ok := bytes.CutPrefix(reply, greeting)
			if !ok {
				t.Fatalf("no greeting in %q", reply)
			}
			if _, err := shared.OpenServerInfo(info[derp.HeaderLen:]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLoginRefused(t *testing.T) {
	cfg := &Config{Key: newKey(t)}
	forOther, _ := flight(t, newKey(t), newKey(t), "")
	up := "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\n\r\n"
	for want, in := range map[string]string{
		"does not open":       string(forOther),
		"instead of a login":  up + string(derp.AppendPing(nil, [derp.PingLen]byte{})),
		"payload":             up + "\x02\xff\xff\xff\xff",
		"no end of a request": strings.Repeat("x", headBytesMax+1),
		"malformed":           "nothing at all\r\n\r\n",
	} {
		if s, err := run(t, cfg, []byte(in), len(in)); err == nil || s.In ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %+v, %v, want %q", in, s, err, want)
		}
	}
}

func TestPages(t *testing.T) {
	var counts Counters
	counts.Full.Add(3)
	counts.Received.Add(9)
	for path, want := range map[string]string{
		MetricsPath: "\nderp_packets_dropped{kind=\"other\",reason=\"queue_tail\"} 3\n",
		"/":         "HTTP/1.1 404 Not Found\r\n",
	} {
		var l Login
		in := []byte("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		s, err := l.Next(&Config{}, &counts, in)
		if err != nil || !s.Last || s.Used != len(in) || !strings.Contains(string(s.Reply), want) {
			t.Errorf("%s: %q, %v, want %q", path, s.Reply, err, want)
		}
	}
}

func FuzzLogin(f *testing.F) {
	client, cfg := newKey(f), &Config{Key: newKey(f)}
	in, _ := flight(f, client, cfg.Key, "")
	f.Add(in, 5)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 100)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		s, err := run(t, cfg, in, max(1, piece))
		if s.Used > len(in) || err == nil && s.In && s.Key.IsZero() {
			t.Errorf("%d of %d bytes used, key %v", s.Used, len(in), s.Key)
		}
	})
}

func FuzzNext(f *testing.F) {
	f.Add(derp.AppendSendPacket(nil, derp.Key{1}, []byte("packet")))
	f.Add(derp.AppendPing(nil, [derp.PingLen]byte{7}))
	f.Fuzz(func(t *testing.T, in []byte) {
		for {
			frame, kind, err := Next(in)
			if err != nil || frame == nil {
				return
			}
			if len(frame) < derp.HeaderLen || len(frame) > len(in) {
				t.Fatalf("a frame of %d bytes in %d", len(frame), len(in))
			}
			switch kind {
			case derp.FrameSendPacket:
				derp.SendToRecv(frame, Destination(frame))
			case derp.FramePing:
				if _, err := Pong(frame); err != nil {
					t.Fatal(err)
				}
			}
			in = in[len(frame):]
		}
	})
}
