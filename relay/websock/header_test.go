package websock

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHeaders(t *testing.T) {
	for _, tc := range []struct {
		n            int
		want, masked string
	}{
		{0, "8200", "8280 37fa213d"},
		{125, "827d", "82fd 37fa213d"},
		{126, "827e 007e", "82fe 007e 37fa213d"},
		{256, "827e 0100", "82fe 0100 37fa213d"}, // RFC 6455 §5.7
		{MessageMax, "827e 8000", "82fe 8000 37fa213d"},
		{65535, "827e ffff", "82fe ffff 37fa213d"},
		{65536, "827f 0000000000010000", "82ff 0000000000010000 37fa213d"}, // RFC 6455 §5.7
		{1<<62 + 1, "827f 4000000000000001", "82ff 4000000000000001 37fa213d"},
	} {
		for _, h := range []struct {
			got       []byte
			want      string
			lengthMax int
		}{
			{AppendHeader([]byte{0xaa}, tc.n), tc.want, HeaderMax},
			{AppendMaskedHeader([]byte{0xaa}, tc.n, testKey), tc.masked, MaskedHeaderMax},
		} {
			want := "aa" + strings.ReplaceAll(h.want, " ", "")
			if got := fmt.Sprintf("%x", h.got); got != want || len(h.got)-1 > h.lengthMax {
				t.Errorf("%d bytes: %s, want %s", tc.n, got, want)
			}
		}
	}
}

func TestPong(t *testing.T) {
	if got := AppendPong([]byte{1}, []byte("Hello")); string(got) != "\x01\x8a\x05Hello" {
		t.Errorf("%x", got)
	}
	if got := AppendPong(nil, make([]byte, 200)); len(got) != 2+ControlMax || got[1] != 125 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestClose(t *testing.T) {
	long := strings.Repeat("x", 122)
	for _, tc := range []struct {
		code   Code
		reason string
		want   string
	}{
		{Normal, "", "\x88\x02\x03\xe8"},
		{GoingAway, "later", "\x88\x07\x03\xe9later"},
		{NoCode, "not sent", "\x88\x00"},
		{1006, "", "\x88\x00"},
		{4999, "", "\x88\x02\x13\x87"},
		{Normal, long + "yz", "\x88\x7d\x03\xe8" + long + "y"},
		{Normal, long + "é", "\x88\x7c\x03\xe8" + long}, // not half a character
	} {
		got := AppendClose(nil, tc.code, tc.reason)
		if string(got) != tc.want {
			t.Errorf("%d, %d bytes of reason: %x", tc.code, len(tc.reason), got)
		}
		if err := checkClose(got[2:]); err != nil || !utf8.Valid(got[min(4, len(got)):]) {
			t.Errorf("%d: %v", tc.code, err)
		}
	}
}

func TestCloseCodes(t *testing.T) {
	sendable := func(c int) bool { // RFC 6455 §7.4 and IANA's registry
		return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c < 5000
	}
	for c := range 1 << 16 {
		err := checkClose([]byte{byte(c >> 8), byte(c)})
		if (err == nil) != sendable(c) {
			t.Errorf("code %d: %v", c, err)
		}
	}
	code, reason := ParseClose([]byte("\x03\xe9later"))
	if code != GoingAway || string(reason) != "later" {
		t.Errorf("%d %q", code, reason)
	}
	if code, reason := ParseClose(nil); code != NoCode || reason != nil {
		t.Errorf("an empty one: %d %q", code, reason)
	}
}

func TestMask(t *testing.T) {
	key := [4]byte{1, 2, 4, 8}
	for n := range 130 {
		for pos := range 9 {
			for align := range 9 {
				b := bytes.Repeat([]byte{0x50}, align+n+8)
				Mask(b[align:align+n], key, pos)
				for i, v := range b {
					want := byte(0x50)
					if i >= align && i < align+n {
						want ^= key[(pos+i-align)%4]
					}
					if v != want {
						t.Fatalf("%d bytes at %d, aligned %d: byte %d is %#x, want %#x",
							n, pos, align, i, v, want)
					}
				}
			}
		}
	}
}

func TestAppendsDoNotAllocate(t *testing.T) {
	buf, ping := make([]byte, 0, 512), []byte("ping")
	if n := testing.AllocsPerRun(100, func() {
		b := AppendHeader(buf, 1405)
		b = AppendMaskedHeader(b, 1405, testKey)
		b = AppendPong(b, ping)
		b = AppendClose(b, GoingAway, "the relay stops")
		Mask(b, testKey, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMask1405(b *testing.B) { benchmarkMask(b, 1405) }
func BenchmarkMask60(b *testing.B)   { benchmarkMask(b, 60) }

func benchmarkMask(b *testing.B, n int) {
	p := make([]byte, n+1)[1:] // never aligned behind a header
	b.SetBytes(int64(n))
	for b.Loop() {
		Mask(p, testKey, 1)
	}
}
