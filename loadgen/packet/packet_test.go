package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"

	"derpd/relay/derp"
)

var stamps = []Stamp{
	{}, {Disco: true},
	{Pair: 1, Seq: 2, Due: 3}, {Pair: 1, Seq: 2, Due: 3, Disco: true},
	{Pair: math.MaxUint32, Seq: math.MaxUint64, Due: math.MaxInt64},
	{Pair: math.MaxUint32, Seq: math.MaxUint64, Due: -1, Disco: true},
}

func sizes(disco bool) []int {
	least := Min(disco)
	return []int{least, least + 1, least + 7, least + 8, least + 9, 100, 570, 1400, 16384,
		16384 + 36, 16384 + 37, 40000, derp.MaxPacket}
}

func head(p []byte) []byte { return p[:min(len(p), HeadBytes)] }

func TestAppendParseCheck(t *testing.T) {
	for _, s := range stamps {
		for _, size := range sizes(s.Disco) {
			p := Append([]byte("front"), s, size)
			if string(p[:5]) != "front" || len(p) != 5+size {
				t.Fatalf("%+v: %d bytes behind %q, want %d", s, len(p)-5, p[:5], size)
			}
			p = p[5:]
			if got, ok := Parse(head(p), size); !ok || got != s {
				t.Errorf("%+v of %d bytes: parsed as %+v, %v", s, size, got, ok)
			}
			if got, ok := Parse(p, size); !ok || got != s {
				t.Errorf("%+v of %d bytes: parsed whole as %+v, %v", s, size, got, ok)
			}
			if !Check(p, s) {
				t.Errorf("%+v of %d bytes is called wrong", s, size)
			}
			if derp.LooksLikeDisco(p) != s.Disco {
				t.Errorf("%+v looks like disco: %v", s, !s.Disco)
			}
		}
	}
}

// The layouts are what other programs read: a change of them is no detail.
func TestLayout(t *testing.T) {
	s := Stamp{Pair: 0x04030201, Seq: 0x0c0b0a0908070605, Due: 0x14131211100f0e0d}
	fields := "0102030405060708090a0b0c0d0e0f1011121314"
	p := Append(nil, s, 64)
	if got := hex.EncodeToString(p[:24]); got != "04000000"+fields {
		t.Errorf("WireGuard data begins with %s", got)
	}
	s.Disco = true
	d := Append(nil, s, 64)
	if got := hex.EncodeToString(d[:6]); got != "5453f09f92ac" {
		t.Errorf("disco begins with %s", got)
	}
	if got := hex.EncodeToString(d[38:58]); got != fields {
		t.Errorf("the nonce begins with %s", got)
	}
	s.Seq, s.Due = 9, 9
	if again := Append(nil, s, 100); !bytes.Equal(again[6:38], d[6:38]) {
		t.Error("the key of a pair changes")
	}
	s.Pair++
	if other := Append(nil, s, 100); bytes.Equal(other[6:38], d[6:38]) {
		t.Error("another pair has the same key")
	}
}

// Every bit counts: of the head for Parse, of all for Check.
func TestEveryBitFlipIsSeen(t *testing.T) {
	for _, s := range stamps {
		for _, size := range []int{Min(s.Disco), 100, 300} {
			p := Append(nil, s, size)
			inHead := wireGuardHead
			if s.Disco {
				inHead = MinDiscoBytes
			}
			for bit := range size * 8 {
				p[bit/8] ^= 1 << (bit % 8)
				if Check(p, s) {
					t.Errorf("%+v of %d bytes: flipped bit %d is not seen", s, size, bit)
				}
				if got, ok := Parse(head(p), size); ok != (bit/8 >= inHead) {
					t.Errorf("%+v of %d bytes: bit %d flipped, parsed %+v, %v",
						s, size, bit, got, ok)
				}
				p[bit/8] ^= 1 << (bit % 8)
			}
		}
	}
}

func TestCutOrLongerIsSeen(t *testing.T) {
	for _, s := range stamps {
		p := Append(nil, s, 400)
		for n := range len(p) {
			if Check(p[:n:n], s) {
				t.Errorf("%+v: the first %d bytes pass", s, n)
			}
			if _, ok := Parse(head(p[:n:n]), n); ok {
				t.Errorf("%+v: the first %d bytes parse", s, n)
			}
		}
		if _, ok := Parse(p[:min(HeadBytes, 400)-1], 400); ok {
			t.Errorf("%+v: parsed from too few bytes", s)
		}
		if long := append(p, 0); Check(long, s) {
			t.Errorf("%+v: one byte more passes", s)
		}
	}
}

func TestOtherStampIsSeen(t *testing.T) {
	s := Stamp{Pair: 5, Seq: 6, Due: 7}
	p := Append(nil, s, 500)
	for _, other := range []Stamp{{4, 6, 7, false}, {5, 7, 7, false}, {5, 6, 8, false},
		{5, 6, 7, true}, {6, 5, 7, false}} {
		if Check(p, other) {
			t.Errorf("made for %+v, passes for %+v", s, other)
		}
	}
}

// Fillers differ from packet to packet, from their first bytes and from the stretch behind them.
func TestFillerOfPairAndSeqAlone(t *testing.T) {
	const size = 1400
	seen := map[string]bool{}
	same := 0
	previous := Append(nil, Stamp{}, size)
	for pair := range uint32(50) {
		for seq := range uint64(50) {
			p := Append(nil, Stamp{Pair: pair, Seq: seq + 1, Due: int64(seq)}, size)
			later := Append(nil, Stamp{Pair: pair, Seq: seq + 1, Due: 1e9}, size)
			if !bytes.Equal(p[wireGuardHead:], later[wireGuardHead:]) {
				t.Fatal("the filler depends on when it was due")
			}
			key := string(p[wireGuardHead : wireGuardHead+8])
			if seen[key] {
				t.Fatalf("pair %d number %d has the filler of another", pair, seq)
			}
			seen[key] = true
			if bytes.Equal(p[wireGuardHead+8:], previous[wireGuardHead+8:]) {
				same++
			}
			previous = p
		}
	}
	if same > 4 { // 2500 in 16384 by chance: 0.15
		t.Errorf("%d of 2500 neighbours have the same stretch", same)
	}
	// A longer packet is not the same stretch over and over.
	long := Append(nil, Stamp{}, 60000)[wireGuardHead+8:]
	if bytes.Equal(long[:1000], long[stretchBytes:stretchBytes+1000]) {
		t.Error("the filler repeats itself")
	}
}

func TestAppendRefusesTooSmall(t *testing.T) {
	for _, s := range stamps[:2] {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: made of %d bytes", s, Min(s.Disco)-1)
				}
			}()
			Append(nil, s, Min(s.Disco)-1)
		}()
	}
}

func TestNothingAllocates(t *testing.T) {
	buf := make([]byte, 0, derp.MaxPacket)
	for _, s := range stamps {
		if n := testing.AllocsPerRun(100, func() {
			p := Append(buf, s, 1400)
			got, ok := Parse(head(p), len(p))
			if !ok || got != s || !Check(p, s) {
				t.Fatal("wrong")
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations", s, n)
		}
	}
}

// What Parse accepts is what Append makes, in all bytes that Parse has looked at.
func FuzzParse(f *testing.F) {
	for _, s := range stamps {
		for _, size := range []int{Min(s.Disco), 1400} {
			f.Add(head(Append(nil, s, size)), size, false)
			f.Add(head(Append(nil, s, size)), size+1, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int, repair bool) {
		if repair { // make the check right, so that what lies behind it is reached
			at, s := 4, Stamp{}
			if bytes.HasPrefix(b, []byte(discoMagic)) {
				at, s.Disco = discoNonce, true
			}
			if len(b) >= at+24 {
				s.Pair = binary.LittleEndian.Uint32(b[at:])
				s.Seq = binary.LittleEndian.Uint64(b[at+4:])
				s.Due = int64(binary.LittleEndian.Uint64(b[at+12:]))
				binary.LittleEndian.PutUint32(b[at+20:], check(s, size))
			}
		}
		s, ok := Parse(b, size)
		if !ok {
			if s != (Stamp{}) {
				t.Fatalf("refused, but read as %+v", s)
			}
			return
		}
		if size < Min(s.Disco) || size > 1<<20 {
			if size < Min(s.Disco) {
				t.Fatalf("%+v in %d bytes", s, size)
			}
			return
		}
		n := wireGuardHead
		if s.Disco {
			n = MinDiscoBytes
		}
		if want := Append(nil, s, size); !bytes.Equal(b[:n], want[:n]) {
			t.Fatalf("%x is taken for %x", b[:n], want[:n])
		}
	})
}

// Check says what comparing with Append says.
func FuzzCheck(f *testing.F) {
	for _, s := range stamps {
		for _, size := range []int{Min(s.Disco), 1400} {
			f.Add(Append(nil, s, size), s.Pair, s.Seq, s.Due, s.Disco)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, pair uint32, seq uint64, due int64, disco bool) {
		s := Stamp{pair, seq, due, disco}
		want := len(p) >= Min(disco) && bytes.Equal(p, Append(nil, s, len(p)))
		if got := Check(p, s); got != want {
			t.Fatalf("%+v, %x: %v, want %v", s, p, got, want)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	var s Stamp
	for b.Loop() {
		s.Seq++
		Append(buf, s, 1400)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, s := range stamps[2:4] {
		name := "wireguard"
		if s.Disco {
			name = "disco"
		}
		b.Run(name, func(b *testing.B) {
			h := head(Append(nil, s, 1400))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Parse(h, 1400); !ok {
					b.Fatal("wrong")
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	s := Stamp{Pair: 1, Seq: 2}
	p := Append(nil, s, 1400)
	b.ReportAllocs()
	for b.Loop() {
		if !Check(p, s) {
			b.Fatal("wrong")
		}
	}
}
