package stun

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	pion "github.com/pion/stun/v3"
)

var client4 = netip.MustParseAddrPort("192.0.2.1:32853")

// request makes what a Tailscale client sends, with the independent codec.
func request(t testing.TB, more ...pion.Setter) []byte {
	t.Helper()
	setters := append([]pion.Setter{pion.TransactionID, pion.BindingRequest}, more...)
	return build(t, append(setters, pion.NewSoftware("tailnode"), pion.Fingerprint)...)
}

func build(t testing.TB, setters ...pion.Setter) []byte {
	t.Helper()
	m, err := pion.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(m.Raw)
}

// refinger makes length and fingerprint right again, so that only the change under test is
// wrong; b must end in a FINGERPRINT.
func refinger(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerLen))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-8])^0x5354554e)
	return b
}

func TestAnswerBytes(t *testing.T) {
	const transaction = "b7e7a701bc34d686fa87dfae"
	req := unhex(t, "0001 0014 2112a442"+transaction+
		"8022 0008 7461696c6e6f6465 8028 0004 00000000")
	refinger(req)
	if len(req) != 40 {
		t.Fatalf("the request has %d bytes", len(req))
	}
	// The mapped addresses are those of RFC 5769 §2.2 and §2.3, same transaction.
	const reply4 = "0101 000c 2112a442" + transaction + "0020 0008 0001 a147 e112a643"
	const reply6 = "0101 0018 2112a442" + transaction +
		"0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9"
	for _, tt := range []struct{ from, want string }{
		{"192.0.2.1:32853", reply4},
		{"[::ffff:192.0.2.1]:32853", reply4},
		{"[2001:db8:1234:5678:11:2233:4455:6677]:32853", reply6},
		{"[2001:db8:1234:5678:11:2233:4455:6677%eth0]:32853", reply6},
	} {
		from := netip.MustParseAddrPort(tt.from)
		if got, want := Respond(nil, req, from), unhex(t, tt.want); !bytes.Equal(got, want) {
			t.Errorf("from %v:\n got %x\nwant %x", from, got, want)
		}
		if got := Respond([]byte("x"), req, from); string(got[:1]) != "x" || len(got) < 33 {
			t.Errorf("what dst held is gone: %x", got)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkReply has the independent codec read a reply.
func checkReply(t testing.TB, req, reply []byte, from netip.AddrPort) {
	t.Helper()
	var m pion.Message
	if err := m.UnmarshalBinary(reply); err != nil {
		t.Fatalf("%x: %v", reply, err)
	}
	var mapped pion.XORMappedAddress
	if err := mapped.GetFrom(&m); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mapped.IP, from.Addr().Unmap().AsSlice()) || mapped.Port != int(from.Port()) {
		t.Errorf("mapped %v, want %v", mapped, from)
	}
	if m.Type != pion.BindingSuccess || len(m.Attributes) != 1 ||
		m.Attributes[0].Type != pion.AttrXORMappedAddress {
		t.Errorf("the reply is %v with %v", m.Type, m.Attributes)
	}
	if !bytes.Equal(m.TransactionID[:], req[8:20]) {
		t.Errorf("transaction %x, want %x", m.TransactionID, req[8:20])
	}
}

func TestAnswerVerdicts(t *testing.T) {
	change := func(f func(b []byte) []byte) []byte { return f(request(t)) }
	mapped := &pion.XORMappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5}
	tailnode := pion.NewSoftware("tailnode")
	extra := pion.RawAttribute{Type: 0x7fff, Value: []byte("abcde")} // padded, unknown
	for _, tt := range []struct {
		name string
		req  []byte
		want Verdict
	}{
		{"client's", request(t), Answered},
		{"other attributes first", request(t, extra, mapped), Answered},
		{"software twice", request(t, pion.NewSoftware("x")), Answered},
		{"fingerprint twice", request(t, pion.Fingerprint), Answered},
		{"empty", nil, NotSTUN},
		{"19 bytes", request(t)[:19], NotSTUN},
		{"highest bit", change(func(b []byte) []byte { b[0] |= 0x80; return refinger(b) }),
			NotSTUN},
		{"second bit", change(func(b []byte) []byte { b[0] |= 0x40; return refinger(b) }),
			NotSTUN},
		{"cookie", change(func(b []byte) []byte { b[7] ^= 1; return refinger(b) }), NotSTUN},
		{"WireGuard", append([]byte{1, 0, 0, 0}, make([]byte, 144)...), NotSTUN},
		{"response", build(t, pion.TransactionID, pion.BindingSuccess, tailnode, pion.Fingerprint),
			NotBindingRequest},
		{"indication", build(t, pion.TransactionID,
			pion.NewType(pion.MethodBinding, pion.ClassIndication), tailnode, pion.Fingerprint),
			NotBindingRequest},
		{"allocate", build(t, pion.TransactionID,
			pion.NewType(pion.MethodAllocate, pion.ClassRequest), tailnode, pion.Fingerprint),
			NotBindingRequest},
		{"length too long", change(func(b []byte) []byte { b[3] += 4; return b }),
			MalformedAttributes},
		{"byte behind", append(request(t), 0), MalformedAttributes},
		{"half an attribute header", change(func(b []byte) []byte {
			return refinger(append(b[:len(b)-8], 0x80, 0x28))
		}), MalformedAttributes},
		{"attribute beyond the end", change(func(b []byte) []byte { b[23]++; return refinger(b) }),
			MalformedAttributes},
		{"fingerprint of 3 bytes", change(func(b []byte) []byte { b[35] = 3; return refinger(b) }),
			MalformedAttributes},
		{"other software", build(t, pion.TransactionID, pion.BindingRequest,
			pion.NewSoftware("tailnodes"), pion.Fingerprint), WrongSoftware},
		{"no software", build(t, pion.TransactionID, pion.BindingRequest, pion.Fingerprint),
			WrongSoftware},
		{"header only", build(t, pion.TransactionID, pion.BindingRequest), WrongSoftware},
		{"no fingerprint", build(t, pion.TransactionID, pion.BindingRequest, tailnode),
			NoFingerprint},
		{"fingerprint not last", build(t, pion.TransactionID, pion.BindingRequest,
			pion.Fingerprint, tailnode), NoFingerprint},
		{"wrong fingerprint", change(func(b []byte) []byte { b[39] ^= 1; return b }),
			WrongFingerprint},
		{"CRC without the constant", change(func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[36:], crc32.ChecksumIEEE(b[:32]))
			return b
		}), WrongFingerprint},
	} {
		before := bytes.Clone(tt.req)
		got, verdict := Answer([]byte("x"), tt.req, client4)
		if verdict != tt.want || (verdict != Answered && string(got) != "x") {
			t.Errorf("%s: %v, %x", tt.name, verdict, got)
		}
		if reply := Respond(nil, tt.req, client4); (reply != nil) != (tt.want == Answered) {
			t.Errorf("%s: Respond gives %x", tt.name, reply)
		} else if reply != nil {
			checkReply(t, tt.req, reply, client4)
		}
		if !bytes.Equal(before, tt.req) {
			t.Errorf("%s: the request was written to", tt.name)
		}
	}
}

func TestAnswerNeedsSender(t *testing.T) {
	for _, from := range []netip.AddrPort{{}, netip.AddrPortFrom(client4.Addr(), 0),
		netip.MustParseAddrPort("0.0.0.0:1"), netip.MustParseAddrPort("[::]:1"),
		netip.MustParseAddrPort("[::ffff:0.0.0.0]:1")} {
		if got, verdict := Answer(nil, request(t), from); verdict != NoReturnAddress {
			t.Errorf("from %v: %v, %x", from, verdict, got)
		}
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := Answered; v <= NoReturnAddress; v++ {
		if s := v.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("verdict %d is called %q", v, s)
		} else {
			seen[s] = true
		}
	}
	if s := (NoReturnAddress + 1).String(); s != "unknown" {
		t.Errorf("a verdict that is none is called %q", s)
	}
}

func TestRespondDoesNotAllocate(t *testing.T) {
	req, buf := request(t), make([]byte, 0, replyBytesMax)
	from6 := netip.MustParseAddrPort("[2001:db8::1]:1")
	n := testing.AllocsPerRun(100, func() {
		if Respond(buf, req, client4) == nil || Respond(buf, req, from6) == nil ||
			Respond(buf, req[:30], client4) != nil {
			t.Error("wrong answer")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := len(Respond(buf, req, from6)); got != replyBytesMax {
		t.Errorf("replyBytesMax is %d, an answer has %d bytes", replyBytesMax, got)
	}
}

// FuzzRespond checks every answer with pion's codec, and that pion too sees a fingerprinted
// binding request of a Tailscale client in what was answered.
func FuzzRespond(f *testing.F) {
	for _, more := range [][]pion.Setter{nil, {pion.NewSoftware("abc")}, {pion.Fingerprint}} {
		setters := []pion.Setter{pion.NewTransactionIDSetter([12]byte{1}), pion.BindingRequest}
		setters = append(append(setters, more...), pion.NewSoftware("tailnode"), pion.Fingerprint)
		m := pion.MustBuild(setters...)
		f.Add(m.Raw, false, []byte{192, 0, 2, 1}, uint16(7))
		f.Add(m.Raw, true, make([]byte, 16), uint16(7))
	}
	f.Fuzz(func(t *testing.T, req []byte, repair bool, ip []byte, port uint16) {
		addr, _ := netip.AddrFromSlice(ip)
		from := netip.AddrPortFrom(addr, port)
		if repair && len(req) >= headerLen+fingerprintLen {
			refinger(req)
		}
		reply := Respond(nil, req, from)
		if reply == nil {
			return
		}
		checkReply(t, req, reply, from)
		m := &pion.Message{Raw: req}
		if err := m.Decode(); err != nil {
			t.Fatalf("pion cannot decode %x: %v", req, err)
		}
		last := m.Attributes[len(m.Attributes)-1]
		if m.Type != pion.BindingRequest || last.Type != pion.AttrFingerprint {
			t.Fatalf("answered %v ending in %v", m.Type, last)
		}
		if !bytes.Contains(req, []byte("tailnode")) {
			t.Fatal("answered another client")
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	req, buf := request(b), make([]byte, 0, replyBytesMax)
	b.ReportAllocs()
	for b.Loop() {
		if Respond(buf, req, client4) == nil {
			b.Fatal("no answer")
		}
	}
}
