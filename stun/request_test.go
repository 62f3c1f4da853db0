package stun

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	pion "github.com/pion/stun/v3"
)

func TestAppendRequest(t *testing.T) {
	id := [TransactionLen]byte{1, 2, 3, 12}
	want := build(t, pion.NewTransactionIDSetter(id), pion.BindingRequest,
		pion.NewSoftware("tailnode"), pion.Fingerprint)
	got := AppendRequest([]byte("x"), id)
	if string(got) != "x"+string(want) {
		t.Errorf("got %x\nwant %x", got[1:], want)
	}
	if _, verdict := Answer(nil, got[1:], client4); verdict != Answered {
		t.Errorf("verdict %v", verdict)
	}
}

func TestParseReply(t *testing.T) {
	id := [TransactionLen]byte{9, 8, 7}
	for _, addr := range []string{"192.0.2.1:32853", "[2001:db8::12]:1", "255.255.255.255:65535"} {
		from := netip.MustParseAddrPort(addr)
		reply := Respond(nil, AppendRequest(nil, id), from)
		if gotID, mapped, ok := ParseReply(reply); gotID != id || mapped != from || !ok {
			t.Errorf("%v: %x, %v, %v", from, gotID, mapped, ok)
		}
		others := build(t, pion.NewTransactionIDSetter(id), pion.BindingSuccess,
			pion.NewSoftware("abcde"), &pion.XORMappedAddress{IP: from.Addr().AsSlice(),
				Port: int(from.Port())}, pion.Fingerprint)
		if gotID, mapped, ok := ParseReply(others); gotID != id || mapped != from || !ok {
			t.Errorf("%v among other attributes: %x, %v, %v", from, gotID, mapped, ok)
		}
		for n := range reply {
			if _, _, ok := ParseReply(reply[:n]); ok {
				t.Errorf("%v: the first %d bytes pass", from, n)
			}
			bad := bytes.Clone(reply)
			bad[n] ^= 0x40
			gotID, mapped, ok := ParseReply(bad)
			if ok && (n < 8 || gotID == id && mapped == from) {
				t.Errorf("%v: byte %d does not matter", from, n)
			}
		}
	}
	for name, b := range map[string][]byte{
		"request": AppendRequest(nil, id),
		"error": build(t, pion.TransactionID, pion.BindingError,
			&pion.XORMappedAddress{IP: net.IPv4(1, 2, 3, 4), Port: 5}),
		"no address": build(t, pion.TransactionID, pion.BindingSuccess, pion.NewSoftware("x")),
	} {
		if _, _, ok := ParseReply(b); ok {
			t.Errorf("%s passes", name)
		}
	}
}

// FuzzParseReply: whatever passes says the same to the independent codec.
func FuzzParseReply(f *testing.F) {
	for _, addr := range []string{"192.0.2.1:7", "[2001:db8::1]:7"} {
		f.Add(Respond(nil, AppendRequest(nil, [12]byte{1}), netip.MustParseAddrPort(addr)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		id, mapped, ok := ParseReply(b)
		if !ok {
			return
		}
		m := &pion.Message{Raw: bytes.Clone(b)}
		var other pion.XORMappedAddress
		if m.Decode() != nil {
			return // what follows the address is damaged, which we do not look at
		}
		if err := other.GetFrom(m); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if !bytes.Equal(other.IP, mapped.Addr().AsSlice()) || other.Port != int(mapped.Port()) ||
			m.TransactionID != id {
			t.Fatalf("%x: %v, the other codec says %v", b, mapped, other)
		}
	})
}
