package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"
)

func FuzzRecordLen(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x20"))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := RecordLen(b)
		if n < 0 || n > MaxRecord || err != nil && n != 0 || err == nil && (n == 0) != (len(b) < 5) {
			t.Fatalf("%x: %d, %v", b, n, err)
		}
		if m, again := RecordLen(b[:min(len(b), 5)]); m != n || (again == nil) != (err == nil) {
			t.Fatalf("%x: %d with the body, %d by the header", b, n, m)
		}
	})
}

// FuzzOpen: bytes of a peer without the keys never become data.
func FuzzOpen(f *testing.F) {
	for i := range suites {
		c, _, err := NewPair(suites[i].version, suites[i].id, []byte("sixteen bytes or more"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), sealed(&c, nil, []byte("hello"))) // under another secret than below
	}
	f.Add(uint8(0), []byte("\x17\x03\x03\x00\x00"))
	f.Fuzz(func(t *testing.T, which uint8, rec []byte) {
		su := &suites[int(which)%len(suites)]
		_, s, err := NewPair(su.version, su.id, []byte("a secret nobody knows"))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := s.Open(rec)
		if plain != nil || err == nil {
			t.Fatalf("opened %x: %x", rec, plain)
		}
		var broken *ProtocolError
		if !errors.As(err, &broken) {
			t.Fatalf("%x: %v", rec, err)
		}
		if out := s.AppendAlert(nil, err); len(out) != 2+s.Overhead() {
			t.Fatalf("alert of %d bytes", len(out))
		}
	})
}

// FuzzContents: anything at all, sealed with the right key, as records of any content type. Each
// input is cut in two at a byte of its own.
func FuzzContents(f *testing.F) {
	f.Add(uint8(0), true, byte(22), uint16(3), []byte{msgKeyUpdate, 0, 0, 1, 1})
	f.Add(uint8(1), true, byte(22), uint16(9), []byte{msgNewSessionTicket, 0, 0, 5, 1, 2, 3, 4, 5})
	f.Add(uint8(2), false, byte(21), uint16(2), []byte{2, 40})
	f.Add(uint8(3), true, byte(22), uint16(4), []byte{0, 0, 0, 0})
	f.Add(uint8(4), true, byte(23), uint16(1), []byte("data\x00\x00"))
	f.Fuzz(func(t *testing.T, which uint8, toClient bool, typ byte, cut uint16, b []byte) {
		if len(b) > MaxPlaintext {
			return
		}
		su := &suites[int(which)%len(suites)]
		client, server := mustPair(t, su)
		from, to := client, server
		if toClient {
			from, to = server, client
		}
		k := min(int(cut), len(b))
		for _, part := range [][]byte{b[:k], b[k:]} {
			before := to.open.secret
			rec := sealedAs(from, nil, typ, part)
			plain, err := to.Open(rec)
			if err != nil {
				checkOpenError(t, to, err)
				return
			}
			if len(plain) > 0 && (typ != recordData || !bytes.Equal(plain, part)) && typ != 0 {
				t.Fatalf("type %d: %x became data %x", typ, part, plain)
			}
			if to.open.secret != before {
				from.roll(&from.seal)
			}
		}
		if to.handN == 0 && to.handSkip == 0 {
			pass(t, from, to)
		}
		if err := exchange(to, from); err != nil && to.handN == 0 && to.handSkip == 0 {
			t.Fatal(err)
		}
	})
}

func checkOpenError(t *testing.T, s *Session, err error) {
	t.Helper()
	var remote *AlertError
	var broken *ProtocolError
	if err != io.EOF && !errors.As(err, &remote) && !errors.As(err, &broken) {
		t.Fatalf("error of no kind: %v", err)
	}
	s.AppendAlert(nil, err)
}

// FuzzHandshake: a peer's bytes, split anywhere, into a server and a client.
func FuzzHandshake(f *testing.F) {
	server := mustServer(f, serverConfig(ecdsaID()))
	client := mustClient(f, clientConfig(ecdsaID()))
	hc, hs := client.New(nil, nil), server.New(nil, nil)
	hello, _, err := hc.Step(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(true, uint16(9), bytes.Clone(hello))
	flight, _, err := hs.Step(hello)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, uint16(700), bytes.Clone(flight))
	f.Add(true, uint16(1), []byte("GET / HTTP/1.1\r\n"))
	hc.Stop()
	hs.Stop()
	f.Fuzz(func(t *testing.T, toServer bool, cut uint16, b []byte) {
		e := client
		if toServer {
			e = server
		}
		h := e.New(nil, nil)
		defer h.Stop()
		h.Step(nil)
		k := min(int(cut), len(b))
		for _, part := range [][]byte{b[:k], b[k:]} {
			if _, done, err := h.Step(part); done || err != nil && h.m.started && !h.m.ended {
				t.Fatalf("done %v, ended %v, %v", done, h.m.ended, err)
			}
		}
	})
}

// FuzzHelloRandom: however the server's bytes are split, the random is the same, and it is what
// crypto/tls's layout says.
func FuzzHelloRandom(f *testing.F) {
	hello := []byte{recordAlert, 3, 3, 0, 2, 1, 112} // unrecognized_name, a warning
	hello = append(hello, recordHandshake, 3, 3, 0, 40, msgServerHello, 0, 0, 36, 3, 3)
	f.Add(uint16(3), append(hello, pattern(40)...))
	f.Fuzz(func(t *testing.T, cut uint16, b []byte) {
		var whole, split, single helloRandom
		whole.feed(b)
		k := min(int(cut), len(b))
		split.feed(b[:k])
		split.feed(b[k:])
		for i := range b {
			single.feed(b[i : i+1])
		}
		a, errA := whole.random()
		c, errC := split.random()
		d, errD := single.random()
		if !bytes.Equal(a, c) || !bytes.Equal(a, d) ||
			(errA == nil) != (errC == nil) || (errA == nil) != (errD == nil) {
			t.Fatalf("%x, %x, %x; %v, %v, %v", a, c, d, errA, errC, errD)
		}
	})
}

// FuzzAgainstCryptoTLS holds Open against the record layer of crypto/tls: what one side takes as
// data, the other takes too. Both read what a crypto/tls client sealed, with one byte changed.
func FuzzAgainstCryptoTLS(f *testing.F) {
	f.Add(uint16(0), byte(0), []byte("hello"))
	f.Add(uint16(7), byte(1), []byte("hello"))
	f.Add(uint16(0), byte(1), []byte{})
	f.Fuzz(func(t *testing.T, at uint16, flip byte, data []byte) {
		if len(data) > 1000 || len(data) == 0 {
			return
		}
		ours, theirs, sent := twoReaders(t, data)
		sent[int(at)%len(sent)] ^= flip

		theirs.in.Write(sent)
		theirs.in.close()
		got := make([]byte, len(data)+1)
		n, errTheirs := io.ReadFull(theirs.server, got)

		var plain []byte
		length, err := RecordLen(sent)
		if err == nil && length != len(sent) {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			plain, err = ours.Open(sent)
		}
		if (err == nil) != (n > 0) || !bytes.Equal(plain, got[:n]) {
			t.Fatalf("ours %x, %v; theirs %x, %v", plain, err, got[:n], errTheirs)
		}
	})
}

type stdReader struct {
	server *tls.Conn
	in     *pipe
}

// twoReaders returns two servers of one session, our record layer and crypto/tls's, and the record
// a client sent with data.
func twoReaders(t *testing.T, data []byte) (*Session, stdReader, []byte) {
	t.Helper()
	near, far := memPair()
	var keys observedLog
	o := &observed{Conn: near, goroutines: map[string]bool{}, oneRecord: true, log: &keys}
	keys.conn = o
	sc, cc := engineConfigs(v13)
	sc.KeyLogWriter = &keys
	server, client := tls.Server(o, sc), tls.Client(far, cc)
	result := make(chan error, 1)
	go func() { result <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-result); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 4096)
	n, err := near.in.Read(sent)
	if err != nil {
		t.Fatal(err)
	}
	su, err := suiteOf(v13, server.ConnectionState().CipherSuite)
	if err != nil {
		t.Fatal(err)
	}
	var s Session
	s.init(su, false)
	s.open.setTraffic(su, keys.keys.client[:su.hashLen])
	s.seal.setTraffic(su, keys.keys.server[:su.hashLen])
	return &s, stdReader{server, near.in}, sent[:n]
}
