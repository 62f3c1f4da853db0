package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"reflect"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		a, b := mustPair(t, su)
		for round := range 3 {
			for _, n := range []int{1, 100, 1400, MaxPlaintext} {
				from, to := a, b
				if n == 100 {
					from, to = b, a
				}
				want := pattern(n)
				rec := sealed(from, []byte("in front"), want)[len("in front"):]
				if len(rec) != n+from.Overhead() {
					t.Fatalf("record of %d bytes for %d, overhead %d", len(rec), n, from.Overhead())
				}
				if l, err := RecordLen(rec[:5]); l != len(rec) || err != nil {
					t.Fatalf("RecordLen %d, %v, want %d", l, err, len(rec))
				}
				plain, err := to.Open(rec)
				if err != nil || !bytes.Equal(plain, want) {
					t.Fatalf("%d bytes: %v", n, err)
				}
			}
			if round == 1 {
				a.DropCiphers()
				b.DropCiphers()
			}
		}
		if err := exchange(a, b); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSealInPlace: a record is sealed where it lies if there is room, and elsewhere if not.
func TestSealInPlace(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		a, b := mustPair(t, su)
		for _, spare := range []int{0, 1, 16, a.Overhead()} {
			buf := make([]byte, a.room()+10, a.room()+10+spare)
			copy(buf[a.room():], "ten bytes!")
			rec := a.SealFinish(buf, 0)
			if fits := a.room()+10+spare >= 10+a.Overhead(); fits != (&rec[0] == &buf[0]) {
				t.Errorf("spare %d: in place %v", spare, &rec[0] == &buf[0])
			}
			if plain, err := b.Open(rec); err != nil || string(plain) != "ten bytes!" {
				t.Errorf("spare %d: %q, %v", spare, plain, err)
			}
		}
		if got := a.SealFinish(a.SealStart([]byte("x")), 1); string(got) != "x" {
			t.Errorf("empty plaintext became %x", got)
		}
	})
}

func TestSealPanics(t *testing.T) {
	a, _ := mustPair(t, suite13(t))
	for name, f := range map[string]func(){
		"too long":   func() { sealed(a, nil, make([]byte, MaxPlaintext+1)) },
		"no session": func() { sealed(new(Session), nil, []byte("x")) },
		"no room":    func() { a.SealFinish([]byte("abc"), 0) },
		"exhausted":  func() { s := *a; s.seal.seq = sequenceMax; sealed(&s, nil, []byte("x")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestRecordLen(t *testing.T) {
	for _, tc := range []struct {
		in   string
		n    int
		want error
	}{
		{"", 0, nil}, {"\x17\x03\x03\x00", 0, nil},
		{"\x17\x03\x03\x00\x00", 5, nil},
		{"\x17\x03\x03\x41\x00", MaxRecord, nil},
		{"\x17\x03\x03\x41\x01", 0, ErrOverflow},
		{"\x14\x03\x03\x00\x01", 6, nil}, {"\x15\x03\x03\x00\x02", 7, nil},
		{"\x13\x03\x03\x00\x01", 0, ErrUnexpected}, {"\x18\x03\x03\x00\x01", 0, ErrUnexpected},
		{"GET /", 0, ErrUnexpected},
		{"\x17\x03\x01\x00\x01", 0, ErrVersion}, {"\x17\x02\x03\x00\x01", 0, ErrVersion},
	} {
		n, err := RecordLen([]byte(tc.in))
		if n != tc.n || !errors.Is(err, tc.want) || (err != nil) != (tc.want != nil) {
			t.Errorf("%x: %d, %v; want %d, %v", tc.in, n, err, tc.n, tc.want)
		}
	}
}

// TestOpenRefuses: one bad record of each kind, the error, and the alert that answers it.
func TestOpenRefuses(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		is13 := su.version == v13
		outerType := ErrBadRecord // 22 for 23: wrong additional data, or a type 1.3 does not have
		if is13 {
			outerType = ErrUnexpected
		}
		from := func(typ byte, b ...byte) func(*Session) []byte {
			return func(s *Session) []byte { return sealedAs(s, nil, typ, b) }
		}
		changed := func(at int) func(*Session) []byte {
			return func(s *Session) []byte {
				rec := sealed(s, nil, []byte("hello"))
				if at < 0 {
					at += len(rec)
				}
				rec[at] ^= 1
				return rec
			}
		}
		raw := func(b string) func(*Session) []byte {
			return func(*Session) []byte { return []byte(b) }
		}
		for name, tc := range map[string]struct {
			rec   func(peer *Session) []byte
			want  error
			alert byte
			only  uint16
		}{
			"tag":             {changed(-1), ErrBadRecord, alertBadRecordMAC, 0},
			"ciphertext":      {changed(13), ErrBadRecord, alertBadRecordMAC, 0},
			"outer type":      {changed(0), outerType, 0, 0},
			"too short":       {raw("\x17\x03\x03\x00\x02ab"), ErrBadRecord, alertBadRecordMAC, 0},
			"empty":           {raw("\x17\x03\x03\x00\x00"), ErrBadRecord, alertBadRecordMAC, 0},
			"not whole":       {raw("\x17\x03\x03\x00\x09ab"), ErrDecode, alertDecodeError, 0},
			"header in part":  {raw("\x17\x03"), ErrDecode, alertDecodeError, 0},
			"version":         {raw("\x17\x03\x01\x00\x02ab"), ErrVersion, alertProtocolVersion, 0},
			"plain CCS":       {raw("\x14\x03\x03\x00\x01\x01"), ErrUnexpected, alertUnexpectedMessage, 0},
			"plain alert":     {raw("\x15\x03\x03\x00\x02\x02\x28"), nil, 0, 0},
			"inner CCS":       {from(recordChangeCipherSpec, 1), ErrUnexpected, alertUnexpectedMessage, 0},
			"inner type 99":   {from(99, 1), ErrUnexpected, alertUnexpectedMessage, 0},
			"alert of 1":      {from(recordAlert, 2), ErrDecode, alertDecodeError, 0},
			"alert of 3":      {from(recordAlert, 2, 40, 0), ErrDecode, alertDecodeError, 0},
			"alert level 3":   {from(recordAlert, 3, 40), ErrIllegal, alertIllegalParameter, v12},
			"ClientHello":     {from(recordHandshake, 1, 0, 0, 0), ErrUnexpected, alertUnexpectedMessage, 0},
			"empty handshake": {from(recordHandshake), ErrUnexpected, alertUnexpectedMessage, 0},
			"padding only":    {from(0), ErrUnexpected, alertUnexpectedMessage, v13},
			"ticket to server": {
				from(recordHandshake, msgNewSessionTicket, 0, 0, 1, 0),
				ErrUnexpected, alertUnexpectedMessage, 0,
			},
			"KeyUpdate in 1.2": {
				from(recordHandshake, msgKeyUpdate, 0, 0, 1, 0),
				ErrUnexpected, alertUnexpectedMessage, v12,
			},
			"KeyUpdate of 2": {
				from(recordHandshake, msgKeyUpdate, 0, 0, 2, 0, 0), ErrDecode, alertDecodeError, v13,
			},
			"KeyUpdate value 2": {
				from(recordHandshake, msgKeyUpdate, 0, 0, 1, 2), ErrIllegal, alertIllegalParameter, v13,
			},
			"two KeyUpdates": {
				from(recordHandshake, msgKeyUpdate, 0, 0, 1, 0, msgKeyUpdate, 0, 0, 1, 0),
				ErrUnexpected, alertUnexpectedMessage, v13,
			},
		} {
			if tc.only != 0 && tc.only != su.version || name == "plain alert" && !is13 {
				continue
			}
			if name == "inner type 99" && !is13 { // the header cutter has it first
				continue
			}
			client, server := mustPair(t, su)
			rec := tc.rec(client)
			plain, err := server.Open(rec)
			if err == nil || plain != nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%s: %x, %v; want %v", name, plain, err, tc.want)
				continue
			}
			if _, again := server.Open(sealed(client, nil, []byte("x"))); !errors.Is(again, ErrEnded) {
				t.Errorf("%s: opened more after the error: %v", name, again)
			}
			var remote *AlertError
			answer := server.AppendAlert(nil, err)
			_, got := client.Open(answer)
			if !errors.As(got, &remote) || remote.Error() == "" ||
				tc.alert != 0 && byte(remote.Alert) != tc.alert {
				t.Errorf("%s: answered by %v, want alert %d", name, got, tc.alert)
			}
		}
	})
}

// TestRecordLimits: 2^14 bytes of plaintext, and 2^14+1 with type and padding in TLS 1.3.
func TestRecordLimits(t *testing.T) {
	client, server := mustPair(t, suite13(t))
	pad := func(data, zeros int) []byte {
		b := make([]byte, recordHeaderLen+data+1+zeros, MaxRecord+1000)
		b[recordHeaderLen+data] = recordData
		h := &client.seal
		aead := client.sealer()
		putHeader(b, recordData, data+1+zeros+tagLen)
		b = aead.Seal(b[:5], client.xorNonce(h), b[5:], b[:5])
		h.seq++
		return b
	}
	for _, tc := range []struct {
		data, zeros int
		want        error
	}{
		{100, 0, nil}, {100, 1000, nil}, {1, MaxPlaintext - 1, nil}, {MaxPlaintext, 0, nil},
		{0, 5, nil}, {MaxPlaintext, 1, ErrOverflow},
	} {
		plain, err := server.Open(pad(tc.data, tc.zeros))
		if len(plain) != tc.data && tc.want == nil || !errors.Is(err, tc.want) {
			t.Errorf("%d + %d zeros: %d bytes, %v; want %v", tc.data, tc.zeros, len(plain), err, tc.want)
		}
	}
}

func TestIdleRecords(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		warning := []byte{levelWarning, alertUserCanceled}
		for name, idle := range map[string]func(s *Session) []byte{
			"empty":   func(s *Session) []byte { return sealedAs(s, nil, recordData, nil) },
			"warning": func(s *Session) []byte { return sealedAs(s, nil, recordAlert, warning) },
			"KeyUpdate": func(s *Session) []byte {
				s.flags |= flagRekey
				return s.AppendControl(nil)
			},
		} {
			if name == "KeyUpdate" && su.version == v12 {
				continue
			}
			client, server := mustPair(t, su)
			for range 2 {
				for range idleRecordsMax {
					if plain, err := server.Open(idle(client)); plain != nil || err != nil {
						t.Fatalf("%s: %x, %v", name, plain, err)
					}
				}
				if _, err := server.Open(sealed(client, nil, []byte("data"))); err != nil {
					t.Fatalf("%s: data after %d: %v", name, idleRecordsMax, err)
				}
			}
			var err error
			for i := range idleRecordsMax + 1 {
				if _, err = server.Open(idle(client)); err != nil && i < idleRecordsMax {
					t.Fatalf("%s: number %d: %v", name, i, err)
				}
			}
			if !errors.Is(err, ErrTooManyIdle) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	// Tickets in one record count one by one.
	client, server := mustPair(t, suite13(t))
	tickets := bytes.Repeat([]byte{msgNewSessionTicket, 0, 0, 1, 0}, idleRecordsMax+1)
	_, err := client.Open(sealedAs(server, nil, recordHandshake, tickets))
	if !errors.Is(err, ErrTooManyIdle) {
		t.Errorf("%d tickets in a record: %v", idleRecordsMax+1, err)
	}
}

func TestClose(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		a, b := mustPair(t, su)
		rec := a.AppendClose(nil)
		if a.NeedsSend() || len(a.AppendClose(nil)) != 0 || len(sealed(a, nil, []byte("x"))) != 0 {
			t.Error("sent something after close_notify")
		}
		for range 2 {
			if _, err := b.Open(bytes.Clone(rec)); err != io.EOF {
				t.Errorf("close_notify: %v", err)
			}
		}
		// The other direction is still open, and the answer is close_notify.
		if plain, err := a.Open(sealed(b, nil, []byte("late"))); string(plain) != "late" || err != nil {
			t.Errorf("half-closed: %q, %v", plain, err)
		}
		if _, err := a.Open(b.AppendAlert(nil, io.EOF)); err != io.EOF {
			t.Errorf("answer: %v", err)
		}

		a, b = mustPair(t, su)
		_, err := b.Open(a.AppendAlert(nil, errors.New("of the caller's own")))
		var remote *AlertError
		if !errors.As(err, &remote) || byte(remote.Alert) != alertInternalError {
			t.Errorf("%v", err)
		}
		if out := b.AppendAlert(nil, err); len(out) != 0 {
			t.Errorf("an alert was answered by %x", out)
		}
		if out := b.AppendAlert(nil, nil); len(out) != 0 {
			t.Errorf("no error was answered by %x", out)
		}
	})
}

func TestRenegotiationRefused(t *testing.T) {
	su, err := suiteOf(v12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	client, server := mustPair(t, su)
	_, err = client.Open(sealedAs(server, nil, recordHandshake, []byte{msgHelloRequest, 0, 0, 0}))
	if !errors.Is(err, ErrRenegotiation) {
		t.Fatalf("HelloRequest: %v", err)
	}
	if plain, err := server.Open(client.AppendAlert(nil, err)); plain != nil || err != nil {
		t.Errorf("no_renegotiation is a warning, but: %v", err)
	}
}

func TestNoSession(t *testing.T) {
	a, _ := mustPair(t, suite13(t))
	a.Wipe()
	for _, s := range []*Session{{}, a} {
		if *s != (Session{}) {
			t.Error("wiped session is not zero")
		}
		if _, err := s.Open([]byte("\x17\x03\x03\x00\x01a")); !errors.Is(err, ErrNoSession) {
			t.Error(err)
		}
		if s.Version() != 0 || s.Suite() != 0 || s.NeedsSend() || len(s.AppendClose(nil)) != 0 ||
			len(s.AppendControl(nil)) != 0 {
			t.Error("no session says something")
		}
	}
	if _, _, err := NewPair(v13, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, pattern(32)); err == nil {
		t.Error("a suite of 1.2 in 1.3")
	}
	if _, _, err := NewPair(v13, tls.TLS_AES_128_GCM_SHA256, pattern(15)); err == nil {
		t.Error("a secret of 15 bytes")
	}
}

// TestSequenceEnd: nothing is opened with a number that would soon wrap.
func TestSequenceEnd(t *testing.T) {
	client, server := mustPair(t, suite13(t))
	server.open.seq = sequenceMax
	if _, err := server.Open(sealed(client, nil, []byte("x"))); !errors.Is(err, ErrSequence) {
		t.Error(err)
	}
}

func TestSessionIsSmall(t *testing.T) {
	const bytesMax = 300
	if n := reflect.TypeFor[Session]().Size(); n > bytesMax {
		t.Errorf("a session has %d bytes, want %d at most", n, bytesMax)
	} else {
		t.Logf("a session has %d bytes", n)
	}
}

func TestNoAllocations(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		a, b := mustPair(t, su)
		buf := make([]byte, 0, MaxRecord+100)
		text := pattern(1400)
		pass := func() {
			rec := a.SealFinish(append(a.SealStart(buf), text...), 0)
			if plain, err := b.Open(rec); err != nil || len(plain) != len(text) {
				t.Fatal(err)
			}
			if a.NeedsSend() || b.NeedsSend() {
				t.Fatal("control wanted")
			}
		}
		pass()
		if n := testing.AllocsPerRun(100, pass); n != 0 {
			t.Errorf("%v allocations a record", n)
		}
	})
}
