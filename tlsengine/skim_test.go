package tlsengine

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// gcmSuites calls f for every suite that can be skimmed.
func gcmSuites(t *testing.T, f func(t *testing.T, su *suite)) {
	allSuites(t, func(t *testing.T, su *suite) {
		if !su.isGCM() {
			t.Skip("not AES-GCM")
		}
		f(t, su)
	})
}

func mustSkim(t testing.TB, s *Session) *Skimmer {
	t.Helper()
	k, ok := s.Skimmer()
	if !ok {
		t.Fatalf("no Skimmer for suite %#04x", s.Suite())
	}
	return &k
}

// mustRecord begins a record of data with n bytes.
func mustRecord(t testing.TB, k *Skimmer, s *Session, rec []byte, n int) {
	t.Helper()
	if got, data, err := k.Record(s, rec); got != n || !data || err != nil {
		t.Fatalf("record of %d bytes: %d, data %v, %v", n, got, data, err)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSkimmerIsForGCM(t *testing.T) {
	count := 0
	allSuites(t, func(t *testing.T, su *suite) {
		_, s := mustPair(t, su)
		_, ok := s.Skimmer()
		if c, _ := mustPair(t, su); ok { // a suite that can be skimmed has GCM's nonce and tag
			count++
			rec := sealed(c, nil, []byte("hello"))
			mustRecord(t, mustSkim(t, s), s, rec, 5)
		}
		if chacha := bytes.Contains([]byte(su.name()), []byte("CHACHA20")); ok == chacha {
			t.Errorf("ok is %v", ok)
		}
	})
	if count != 6 {
		t.Errorf("%d suites can be skimmed, want 6", count)
	}
	if _, ok := new(Session).Skimmer(); ok {
		t.Error("no session can be skimmed")
	}
}

func TestSkimEveryOffset(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		c, s := mustPair(t, su)
		r := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{1, 15, 16, 17, 31, 32, 33, 100} {
			text := randomBytes(r, n)
			rec := sealed(c, nil, text)
			before := bytes.Clone(rec)
			k := mustSkim(t, s)
			mustRecord(t, k, s, rec, n)
			for off := range n + 1 {
				for end := off; end <= n; end++ {
					dst := make([]byte, end-off)
					k.At(dst, off)
					if !bytes.Equal(dst, text[off:end]) {
						t.Fatalf("bytes %d to %d of %d: %x, want %x", off, end, n,
							dst, text[off:end])
					}
				}
			}
			if !bytes.Equal(rec, before) {
				t.Fatal("the record was changed")
			}
			k.Done(s)
		}
	})
}

// Thousands of records of several frames, skimmed or opened by a coin, with KeyUpdates between.
func TestSkimAndOpenMixed(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		c, s := mustPair(t, su)
		k := mustSkim(t, s)
		r := rand.New(rand.NewPCG(3, uint64(su.id)))
		updates := 0
		for i := range 4000 {
			if su.version == v13 && r.IntN(50) == 0 {
				updates++
				c.flags |= flagRekey
				openControl(t, k, s, c.AppendControl(nil))
				if r.IntN(2) == 0 {
					k = mustSkim(t, s) // which is allowed and not needed
				}
			}
			n := 1 + r.IntN(3000)
			if r.IntN(100) == 0 {
				n = MaxPlaintext
			}
			text := randomBytes(r, n)
			rec := sealed(c, nil, text)
			if i%5 == 0 {
				k = mustSkim(t, s)
			}
			mustRecord(t, k, s, rec, n)
			for range 4 {
				off := r.IntN(n)
				dst := make([]byte, min(n-off, r.IntN(200)))
				k.At(dst, off)
				if !bytes.Equal(dst, text[off:off+len(dst)]) {
					t.Fatalf("record %d: %d bytes at %d differ", i, len(dst), off)
				}
			}
			if r.IntN(10) > 0 {
				k.Done(s)
			} else if plain, err := s.Open(rec); err != nil || !bytes.Equal(plain, text) {
				t.Fatalf("record %d: Open: %v", i, err)
			}
		}
		if su.version == v13 && updates < 20 {
			t.Errorf("only %d KeyUpdates", updates)
		}
	})
}

// openControl has a record that is no data refused by the Skimmer and taken by Open.
func openControl(t *testing.T, k *Skimmer, s *Session, rec []byte) {
	t.Helper()
	if n, data, err := k.Record(s, rec); n != 0 || data || err != nil {
		t.Fatalf("a record of control: %d, data %v, %v", n, data, err)
	}
	if plain, err := s.Open(rec); plain != nil || err != nil {
		t.Fatalf("Open: %x, %v", plain, err)
	}
}

// A peer that breaks the limits: Seal of ours would not.
func TestSkimTooLong(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		c, s := mustPair(t, su)
		rec := sealedAs(c, nil, recordData, pattern(MaxPlaintext))
		mustRecord(t, mustSkim(t, s), s, rec, MaxPlaintext)

		c, s = mustPair(t, su)
		sealed(c, nil, []byte("builds the cipher")) // at the number that is used again here
		c.seal.seq--
		rec, h := c.SealStart(nil), &c.seal
		nonce := bytes.Clone(c.xorNonce(h))
		inner := pattern(MaxPlaintext + 1)
		if su.version == v13 {
			inner = append(inner[:MaxPlaintext], recordData, 0)
			putHeader(rec, recordData, len(inner)+tagLen)
			rec = c.sealer().Seal(rec, nonce, inner, rec[:recordHeaderLen])
		} else {
			putHeader(rec, recordData, 8+len(inner)+tagLen)
			copy(rec[recordHeaderLen:], nonce[4:])
			rec = c.sealer().Seal(rec, nonce, inner, c.aad12(h, recordData, len(inner)))
		}
		if n, data, err := mustSkim(t, s).Record(s, rec); n != 0 || data || err != nil {
			t.Errorf("%d, data %v, %v", n, data, err)
		}
		if _, err := s.Open(rec); !errors.Is(err, ErrOverflow) {
			t.Errorf("Open: %v", err)
		}
	})
}

// What is not data goes to Open, which says the same as without a Skimmer.
func TestSkimLeavesTheRestToOpen(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		for _, tt := range []struct {
			name string
			typ  byte
			b    []byte
			want error // nil: there is none
		}{
			{"close_notify", recordAlert, []byte{1, 0}, io.EOF},
			{"alert", recordAlert, []byte{2, 80}, &AlertError{80}},
			{"empty", recordData, nil, nil},
			{"handshake", recordHandshake, []byte{99, 0, 0, 1, 0}, ErrUnexpected},
			{"unknown type", 25, []byte{1}, ErrUnexpected},
			{"padding only", 0, make([]byte, 40), ErrUnexpected},
			{"nothing", 0, nil, ErrUnexpected},
		} {
			c, s := mustPair(t, su)
			k := mustSkim(t, s)
			rec := sealedAs(c, nil, tt.typ, tt.b)
			_, plainOpen := mustPair(t, su)
			_, want := plainOpen.Open(bytes.Clone(rec))

			n, data, err := k.Record(s, rec)
			if n != 0 || data {
				t.Errorf("%s: %d, data %v", tt.name, n, data)
			}
			if err == nil {
				_, err = s.Open(rec)
			}
			if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
				t.Errorf("%s: %v, Open alone says %v", tt.name, err, want)
			}
			if su.version == v13 && !sameError(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if _, _, err := k.Record(s, rec); (err == nil) != (want == nil) {
				t.Errorf("%s: the next record: %v", tt.name, err)
			}
		}
	})
}

func sameError(got, want error) bool {
	var alert *AlertError
	if errors.As(want, &alert) {
		wanted := alert.Alert
		return errors.As(got, &alert) && alert.Alert == wanted
	}
	return errors.Is(got, want)
}

func TestSkimWrongLength(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		c, _ := mustPair(t, su)
		rec := sealed(c, nil, pattern(40))
		for name, bad := range map[string][]byte{
			"nothing": nil, "half a header": rec[:3], "cut": rec[:len(rec)-1],
			"long": append(bytes.Clone(rec), 0), "type": append([]byte{24}, rec[1:]...),
		} {
			_, s := mustPair(t, su)
			_, other := mustPair(t, su)
			n, data, err := mustSkim(t, s).Record(s, bad)
			if err == nil { // left to Open
				_, err = s.Open(bytes.Clone(bad))
			}
			_, want := other.Open(bytes.Clone(bad))
			if n != 0 || data || err == nil || err.Error() != want.Error() {
				t.Errorf("%s: %d, %v, %v, want %v", name, n, data, err, want)
			}
			if _, err := s.Open(rec); !errors.Is(err, ErrEnded) {
				t.Errorf("%s: and then %v", name, err)
			}
		}
		// Bodies too short for what each suite adds.
		for n := range 30 {
			_, s := mustPair(t, su)
			rec := make([]byte, recordHeaderLen+n)
			putHeader(rec, recordData, n)
			if _, data, err := mustSkim(t, s).Record(s, rec); data && n < s.Overhead()-4 ||
				err != nil {
				t.Errorf("body of %d bytes: data %v, %v", n, data, err)
			}
		}
	})
}

// Zeros behind the content type, up to whole blocks of them.
func TestSkimPadding(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		if su.version != v13 {
			t.Skip("TLS 1.3 alone pads")
		}
		c, s := mustPair(t, su)
		k := mustSkim(t, s)
		for _, n := range []int{1, 14, 15, 16, 17, 100} {
			for _, zeros := range []int{1, 2, 14, 15, 16, 17, 31, 32, 33, 200} {
				text := pattern(n)
				text[n-1] = 0 // data may end in zeros itself
				inner := append(append(bytes.Clone(text), recordData), make([]byte, zeros-1)...)
				rec := sealedAs(c, nil, 0, inner)
				mustRecord(t, k, s, rec, n)
				got := make([]byte, n)
				k.At(got, 0)
				if !bytes.Equal(got, text) {
					t.Fatalf("%d bytes and %d of padding: %x", n, zeros, got)
				}
				k.Done(s)
			}
		}
		inner := append([]byte{1, 0, recordAlert}, make([]byte, 70)...)
		rec := sealedAs(c, nil, 0, inner)
		if n, data, err := k.Record(s, rec); n != 0 || data || err != nil {
			t.Errorf("a padded alert: %d, data %v, %v", n, data, err)
		}
		if _, err := s.Open(rec); err != io.EOF {
			t.Errorf("a padded close_notify: %v", err)
		}
	})
}

// A handshake message that is not whole yet allows no data, which Open alone can say.
func TestSkimWithinHandshakeMessage(t *testing.T) {
	for _, begun := range [][]byte{{msgNewSessionTicket, 0, 0, 9, 1}, {msgNewSessionTicket, 0}} {
		client, server := mustPair(t, suite13(t))
		openControl(t, mustSkim(t, client), client,
			sealedAs(server, nil, recordHandshake, begun))
		rec := sealed(server, nil, []byte("data"))
		if _, data, err := mustSkim(t, client).Record(client, rec); data || err != nil {
			t.Errorf("after %x: data %v, %v", begun, data, err)
		}
		if _, err := client.Open(rec); !errors.Is(err, ErrUnexpected) {
			t.Errorf("after %x: Open: %v", begun, err)
		}
	}
}

func TestSkimEndsWithTheNumbers(t *testing.T) {
	c, s := mustPair(t, &suites[3]) // whose explicit nonce makes the record readable nevertheless
	rec := sealed(c, nil, []byte("data"))
	s.open.seq = sequenceMax
	if _, data, err := mustSkim(t, s).Record(s, rec); data || err != nil {
		t.Errorf("data %v, %v", data, err)
	}
	if _, err := s.Open(rec); err != ErrSequence {
		t.Errorf("Open: %v", err)
	}
}

// The peer chooses the explicit nonce of TLS 1.2: OpenSSL's begins at a random number.
func TestSkimExplicitNonce(t *testing.T) {
	c, s := mustPair(t, &suites[3])
	sealed(c, nil, []byte("builds the cipher")) // at the number that is used again here
	c.seal.seq--
	rec, h, text := c.SealStart(nil), &c.seal, pattern(100)
	putHeader(rec, recordData, 8+len(text)+tagLen)
	nonce := append(bytes.Clone(h.iv[:4]), "explicit"...)
	copy(rec[recordHeaderLen:], nonce[4:])
	rec = c.sealer().Seal(rec, nonce, text, c.aad12(h, recordData, len(text)))
	k, got := mustSkim(t, s), make([]byte, len(text))
	mustRecord(t, k, s, rec, len(text))
	if k.At(got, 0); !bytes.Equal(got, text) {
		t.Errorf("%x", got)
	}
	if plain, err := s.Open(rec); err != nil || !bytes.Equal(plain, text) {
		t.Errorf("Open: %v", err)
	}
}

func TestSkimPanicsBeyondTheEnd(t *testing.T) {
	c, s := mustPair(t, suite13(t))
	k := mustSkim(t, s)
	mustRecord(t, k, s, sealed(c, nil, pattern(20)), 20)
	panics := func(n, off int) (did bool) {
		defer func() { did = recover() != nil }()
		k.At(make([]byte, n), off)
		return
	}
	if panics(20, 0) || panics(0, 20) {
		t.Error("within the record it panics")
	}
	if !panics(21, 0) || !panics(1, 20) || !panics(1, -1) {
		t.Error("the content type or the tag can be read")
	}
	k.Done(s)
	if !panics(1, 0) {
		t.Error("a record can be read after Done")
	}
}

// The rule of Open: a KeyUpdate is due when a key has opened rekeyRecords records.
func TestSkimRekey(t *testing.T) {
	defer func(n uint64) { rekeyRecords = n }(rekeyRecords)
	rekeyRecords = 50
	for _, su := range []*suite{suite13(t), &suites[3]} {
		c, s := mustPair(t, su)
		_, byOpen := mustPair(t, su)
		k := mustSkim(t, s)
		for i := range 60 {
			rec := sealed(c, nil, []byte("data"))
			mustRecord(t, k, s, rec, 4)
			k.Done(s)
			if _, err := byOpen.Open(rec); err != nil {
				t.Fatal(err)
			}
			if s.NeedsSend() != byOpen.NeedsSend() {
				t.Fatalf("%s: after %d records NeedsSend is %v, with Open %v", su.name(), i+1,
					s.NeedsSend(), byOpen.NeedsSend())
			}
			if i == 55 && su.version == v13 { // the peer is asked, and answers later
				if _, err := c.Open(s.AppendControl(nil)); err != nil {
					t.Fatal(err)
				}
				byOpen.AppendControl(nil)
			}
		}
		if su.version == v13 {
			openControl(t, k, s, c.AppendControl(nil))
		}
		rec := sealed(c, nil, []byte("more"))
		mustRecord(t, k, s, rec, 4)
		if plain, err := s.Open(rec); err != nil || string(plain) != "more" {
			t.Errorf("%s: at last %q, %v", su.name(), plain, err)
		}
	}
}

// Done resets the count of records without data, as Open does.
func TestSkimCountsAsData(t *testing.T) {
	c, s := mustPair(t, suite13(t))
	k := mustSkim(t, s)
	for range 3 * idleRecordsMax {
		if _, err := s.Open(sealedAs(c, nil, recordData, nil)); err != nil {
			t.Fatal(err)
		}
		mustRecord(t, k, s, sealed(c, nil, []byte("x")), 1)
		k.Done(s)
	}
}

func TestSkimDoesNotAllocate(t *testing.T) {
	gcmSuites(t, func(t *testing.T, su *suite) {
		c, s := mustPair(t, su)
		rec := sealed(c, nil, pattern(1400))
		k, seq := mustSkim(t, s), s.open.seq
		if n := testing.AllocsPerRun(100, func() {
			var head [100]byte
			s.open.seq = seq
			if _, data, err := k.Record(s, rec); !data || err != nil {
				t.Fatal(err)
			}
			k.At(head[:], 3)
			k.At(head[:5], 700)
			k.Done(s)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Whatever comes, what a Skimmer says is data is what Open gives, and nothing panics.
func FuzzSkim(f *testing.F) {
	f.Add([]byte("data"), byte(recordData), uint16(0), uint8(0), -1, byte(0))
	f.Add([]byte{1, 0}, byte(recordAlert), uint16(40), uint8(0), -1, byte(0))
	f.Add(make([]byte, 50), byte(0), uint16(3), uint8(3), 7, byte(9))
	f.Fuzz(func(t *testing.T, b []byte, typ byte, pad uint16, which uint8, at int, x byte) {
		su := &suites[int(which)%len(suites)]
		c, s := mustPair(t, su)
		k, ok := s.Skimmer()
		if !ok || len(b) > MaxPlaintext || int(pad) > 300 {
			return
		}
		if pad > 0 && su.version == v13 {
			b = append(append(bytes.Clone(b), typ), make([]byte, pad-1)...)
			typ = 0
		}
		rec := sealedAs(c, nil, typ, b)
		genuine := at < 0 || at >= len(rec) || x == 0
		if !genuine {
			rec[at] ^= x
		}
		n, data, err := k.Record(s, rec)
		got := make([]byte, n)
		if data {
			k.At(got, 0)
		}
		plain, openErr := s.Open(rec)
		if err != nil && openErr == nil || data && n == 0 || !data && n != 0 {
			t.Fatalf("Record: %d, %v, %v; Open: %v", n, data, err, openErr)
		}
		if genuine && (data != (plain != nil) || !bytes.Equal(got, plain)) {
			t.Fatalf("Record: %d, %v; Open: %d bytes, %v", n, data, len(plain), openErr)
		}
	})
}

// BenchmarkSkim looks at the first 64 bytes; compare with BenchmarkOpen of the same size.
func BenchmarkSkim(b *testing.B) {
	benchSuites(b, func(b *testing.B, su *suite, n int) {
		c, s := mustPair(b, su)
		k, ok := s.Skimmer()
		if !ok {
			b.Skip("not AES-GCM")
		}
		rec := sealed(c, nil, pattern(n))
		seq := s.open.seq
		var head [64]byte
		for b.Loop() {
			s.open.seq = seq
			if _, data, err := k.Record(s, rec); !data || err != nil {
				b.Fatal(err)
			}
			k.At(head[:], 0)
			k.Done(s)
		}
	})
}
