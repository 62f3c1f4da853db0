package websock

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d} // of RFC 6455 §5.7

// frame builds a client's frame; final and masked, unless the first byte says otherwise.
func frame(first byte, payload string) []byte {
	b := appendHeader(nil, 0, bitMasked, len(payload))
	b[0] = first
	b = append(b, testKey[:]...)
	at := len(b)
	b = append(b, payload...)
	Mask(b[at:], testKey, 0)
	return b
}

func cat(frames ...[]byte) []byte { return slices.Concat(frames...) }

// streams are what clients may send, and what it means.
var streams = []struct {
	name string
	in   []byte
	want spoken
}{
	{"RFC: a masked frame, but binary", []byte("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
		spoken{data: "Hello"}},
	{"RFC: a masked pong", []byte("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
		spoken{controls: []control{{Pong, "Hello", 0}}}},
	{"RFC: a fragmented message, masked and binary",
		cat(frame(0x02, "Hel"), frame(0x80, "lo")), spoken{data: "Hello"}},
	{"RFC: 256 bytes", frame(0x82, strings.Repeat("x", 256)),
		spoken{data: strings.Repeat("x", 256)}},
	{"RFC: 64 KiB", frame(0x82, strings.Repeat("y", 65536)),
		spoken{data: strings.Repeat("y", 65536)}},
	{"nothing", nil, spoken{}},
	{"an empty message", frame(0x82, ""), spoken{}},
	{"empty fragments", cat(frame(0x02, ""), frame(0x00, ""), frame(0x00, "a"), frame(0x80, "")),
		spoken{data: "a"}},
	{"a ping between fragments, an empty one, and more data",
		cat(frame(0x02, "ab"), frame(0x89, "ping"), frame(0x00, "c"), frame(0x89, ""),
			frame(0x80, "d"), frame(0x82, "e")),
		spoken{data: "abcde", controls: []control{{Ping, "ping", 2}, {Ping, "", 3}}}},
	{"the longest ping", frame(0x89, strings.Repeat("p", 125)),
		spoken{controls: []control{{Ping, strings.Repeat("p", 125), 0}}}},
	{"a length in a longer form than needed", []byte("\x82\xfe\x00\x01\x00\x00\x00\x00a"),
		spoken{data: "a"}},
	{"a key of zeros", []byte("\x82\x81\x00\x00\x00\x00a"), spoken{data: "a"}},
	{"close, empty, and more", cat(frame(0x88, ""), frame(0x82, "late")),
		spoken{controls: []control{{Close, "", 0}}}},
	{"close with a reason", frame(0x88, "\x03\xe8bye"),
		spoken{controls: []control{{Close, "\x03\xe8bye", 0}}}},
	{"close with an application's code", frame(0x88, "\x0f\xa0"),
		spoken{controls: []control{{Close, "\x0f\xa0", 0}}}},

	{"RFC: an unmasked text", []byte("\x81\x05Hello"), broken(Unmasked)},
	{"RFC: an unmasked ping", []byte("\x89\x05Hello"), broken(Unmasked)},
	{"RFC: a masked text", frame(0x81, "Hello"), broken(TextMessage)},
	{"an empty text", frame(0x81, ""), broken(TextMessage)},
	{"the first reserved bit (compression)", frame(0xc2, "a"), broken(ReservedBits)},
	{"the second", frame(0xa2, "a"), broken(ReservedBits)},
	{"the third, on a ping", frame(0x99, ""), broken(ReservedBits)},
	{"opcode 3", frame(0x83, ""), broken(UnknownOpcode)},
	{"opcode 7", frame(0x87, ""), broken(UnknownOpcode)},
	{"opcode 11", frame(0x8b, ""), broken(UnknownOpcode)},
	{"opcode 15", frame(0x8f, ""), broken(UnknownOpcode)},
	{"a ping too long", frame(0x89, strings.Repeat("p", 126)), broken(LongControl)},
	{"a close too long", frame(0x88, strings.Repeat("p", 70000)), broken(LongControl)},
	{"a fragmented ping", frame(0x09, "p"), broken(FragmentedControl)},
	{"nothing to continue", frame(0x80, "a"), broken(NothingToContinue)},
	{"nothing left to continue",
		cat(frame(0x02, "a"), frame(0x80, "b"), frame(0x80, "c")),
		spoken{data: "ab", fault: NothingToContinue, broken: true}},
	{"a message within another", cat(frame(0x02, "a"), frame(0x82, "b")),
		spoken{data: "a", fault: Interrupted, broken: true}},
	{"a length over 63 bits", []byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01abcd"),
		broken(LengthSign)},
	{"a close of one byte", frame(0x88, "\x03"), broken(CloseLength)},
	{"a close with code 0", frame(0x88, "\x00\x00"), broken(CloseCode)},
	{"a close with code 1005", frame(0x88, "\x03\xed"), broken(CloseCode)},
	{"a close with a bad reason", frame(0x88, "\x03\xe8\xff"), broken(CloseReason)},
	{"an error, and more", cat(frame(0x83, ""), frame(0x82, "late")), broken(UnknownOpcode)},
}

func broken(f Fault) spoken { return spoken{fault: f, broken: true} }

func TestStreams(t *testing.T) {
	for _, tc := range streams {
		if got := hear(t, new(Reader), bytes.Clone(tc.in)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v", tc.name, got)
		}
		if got := refer(tc.in, false); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: the reference says %v", tc.name, got)
		}
	}
}

// Wherever a stream is torn, it says the same; also if it is torn everywhere.
func TestEverySplit(t *testing.T) {
	for _, tc := range streams {
		step := 1 + len(tc.in)/500 // long payloads are alike inside
		for i := 0; i <= len(tc.in); i += step {
			b := bytes.Clone(tc.in)
			if got := hear(t, new(Reader), b[:i], b[i:]); !reflect.DeepEqual(got, tc.want) {
				t.Fatalf("%s, torn at %d: %v", tc.name, i, got)
			}
		}
		if len(tc.in) > 1000 {
			continue
		}
		var pieces [][]byte
		for i := range tc.in {
			pieces = append(pieces, bytes.Clone(tc.in[i:i+1]), nil)
		}
		if got := hear(t, new(Reader), pieces...); !reflect.DeepEqual(got, tc.want) {
			t.Fatalf("%s, byte by byte: %v", tc.name, got)
		}
	}
}

// Data is handed on as it arrives, and a frame of nearly 2^63 bytes needs no more memory than
// one of ten.
func TestDataIsNotGathered(t *testing.T) {
	var r Reader
	b := []byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04")
	if kind, _, n, err := r.Next(b); kind != None || n != len(b) || err != nil {
		t.Fatal(kind, n, err)
	}
	for i := range 1000 {
		b := bytes.Repeat([]byte{0}, 4001) // the key is seen in turn
		kind, p, n, err := r.Next(b)
		if kind != Data || len(p) != len(b) || n != len(b) || err != nil ||
			p[0] != byte(i%4+1) {
			t.Fatal(kind, len(p), n, err, p[0])
		}
	}
	if r.torn != nil {
		t.Error("data was kept")
	}
}

func TestClientReader(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     spoken
	}{
		{"RFC: a fragmented message, but binary", "\x02\x03Hel\x80\x02lo", spoken{data: "Hello"}},
		{"RFC: a ping", "\x89\x05Hello", spoken{controls: []control{{Ping, "Hello", 0}}}},
		{"a mask", string(frame(0x82, "a")), broken(Masked)},
		{"what a server appends", string(AppendClose(AppendPong(append(AppendHeader(nil, 3),
			"abc"...), []byte("pong")), GoingAway, "later")), spoken{data: "abc",
			controls: []control{{Pong, "pong", 3}, {Close, "\x03\xe9later", 3}}}},
	} {
		got := hear(t, &Reader{Client: true}, []byte(tc.in))
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v", tc.name, got)
		}
		if got := refer([]byte(tc.in), true); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: the reference says %v", tc.name, got)
		}
	}
}

func TestErrorsSayWhatAndHowToClose(t *testing.T) {
	for _, tc := range []struct {
		in   []byte
		want string
		code Code
	}{
		{frame(0xc2, ""), "reserved bits are set in 0xc2", ProtocolError},
		{frame(0x83, ""), "opcode 0x3 is unknown", ProtocolError},
		{frame(0x81, ""), "a text message", UnsupportedData},
		{frame(0x88, "\x03\xee"), "code 1006", ProtocolError},
		{frame(0x88, "\x03\xe8\xff"), "not UTF-8", InvalidPayload},
		{frame(0x89, strings.Repeat("p", 200)), "a control frame of 200 bytes", ProtocolError},
		{[]byte("\x82\x00"), "without a mask", ProtocolError},
	} {
		_, _, _, err := new(Reader).Next(tc.in)
		if err == nil || !strings.Contains(err.Error(), tc.want) || CodeOf(err) != tc.code ||
			strings.Contains(err.Error(), "%!") {
			t.Errorf("%x: %v, close with %d", tc.in[0], err, CodeOf(err))
		}
	}
	if c := CodeOf(errors.New("of another room")); c != InternalError {
		t.Errorf("any error: %d", c)
	}
	for f := range faults {
		text := (&Error{Fault: f, Value: 7}).Error()
		if faultTexts[f].format == "" || faultTexts[f].code == 0 || strings.Contains(text, "%!") {
			t.Errorf("fault %d: %q, code %d", f, text, faultTexts[f].code)
		}
	}
}

func TestReaderIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Reader{}); n > 32 {
		t.Errorf("%d bytes", n)
	}
}

// After a Reader has once kept something torn, nothing allocates, torn or not.
func TestReaderDoesNotAllocate(t *testing.T) {
	in := cat(frame(0x82, strings.Repeat("a", 1405)), frame(0x89, "ping"),
		frame(0x02, "bc"), frame(0x80, "d"))
	var r Reader
	read := func(b []byte) {
		for len(b) > 0 {
			_, _, n, err := r.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
	}
	b := make([]byte, len(in))
	whole := testing.AllocsPerRun(100, func() {
		copy(b, in)
		read(b)
	})
	if whole != 0 || r.torn != nil {
		t.Errorf("whole frames: %v allocations, torn %v", whole, r.torn != nil)
	}
	torn := testing.AllocsPerRun(100, func() {
		copy(b, in)
		for i := range b {
			read(b[i : i+1])
		}
	})
	if torn != 0 { // AllocsPerRun's first run makes the buffer
		t.Errorf("torn frames: %v allocations", torn)
	}
}

func FuzzReader(f *testing.F) {
	for _, tc := range streams {
		if len(tc.in) < 1000 {
			f.Add(tc.in, false, uint16(len(tc.in)/2), uint16(len(tc.in)))
		}
	}
	f.Add([]byte("\x02\x03Hel\x80\x02lo"), true, uint16(1), uint16(4))
	f.Fuzz(func(t *testing.T, in []byte, client bool, i, j uint16) {
		want := refer(in, client)
		a := min(int(i), len(in))
		z := min(max(a, int(j)), len(in))
		b := bytes.Clone(in)
		got := hear(t, &Reader{Client: client}, b[:a], b[a:z], b[z:])
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("torn at %d and %d: %v, want %v", a, z, got, want)
		}
	})
}

func BenchmarkReader1405(b *testing.B) {
	in := frame(0x82, strings.Repeat("a", 1405))
	buf := make([]byte, len(in))
	var r Reader
	b.SetBytes(1405)
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, in)
		if kind, _, _, err := r.Next(buf); kind != Data || err != nil {
			b.Fatal(kind, err)
		}
	}
}
