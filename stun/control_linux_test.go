package stun

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// info4 and info6 make what the kernel sends with a request.
func info4(ifindex uint32, local, destination string) []byte {
	var c controlBuffer
	data := putControl(&c, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	binary.NativeEndian.PutUint32(data, ifindex)
	copy(data[4:], netip.MustParseAddr(local).AsSlice())
	copy(data[8:], netip.MustParseAddr(destination).AsSlice())
	return c.bytes[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
}

func info6(ifindex uint32, destination string) []byte {
	var c controlBuffer
	data := putControl(&c, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	a := netip.MustParseAddr(destination).As16()
	copy(data, a[:])
	binary.NativeEndian.PutUint32(data[16:], ifindex)
	return c.bytes[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]
}

func join(parts ...[]byte) []byte {
	var out controlBuffer // for the alignment
	n := 0
	for _, p := range parts {
		n += copy(out.bytes[n:], p)
	}
	return out.bytes[:n]
}

func TestReplyControl(t *testing.T) {
	other := func() []byte {
		var c controlBuffer
		putControl(&c, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 16)
		return c.bytes[:unix.CmsgSpace(16)]
	}()
	badLen := func(n int) []byte {
		b := info4(3, "192.0.2.1", "192.0.2.1")
		binary.NativeEndian.PutUint64(b, uint64(n))
		return b
	}
	v4 := info4(0, "192.0.2.1", "0.0.0.0")
	v6 := info6(0, "2001:db8::1")
	for _, tt := range []struct {
		name           string
		received, want []byte
	}{
		{"IPv4", info4(3, "192.0.2.1", "192.0.2.1"), v4},
		{"IPv4 broadcast", info4(3, "192.0.2.1", "192.0.2.255"), v4},
		{"IPv6", info6(3, "2001:db8::1"), v6},
		{"IPv6 link-local", info6(3, "fe80::1"), info6(3, "fe80::1")},
		{"both, IPv6 first",
			join(info6(3, "::ffff:192.0.2.255"), info4(3, "192.0.2.1", "192.0.2.255")), v4},
		{"both, IPv4 first",
			join(info4(3, "192.0.2.1", "192.0.2.1"), info6(3, "::ffff:192.0.2.1")), v4},
		{"IPv4 in IPv6 form only", info6(3, "::ffff:192.0.2.1"), info6(0, "::ffff:192.0.2.1")},
		{"behind another message", join(other, info6(3, "2001:db8::1")), v6},
		{"nothing", nil, nil},
		{"another message", other, nil},
		{"no local address", info4(3, "0.0.0.0", "192.0.2.1"), nil},
		{"IPv6 multicast", info6(3, "ff02::1"), nil},
		{"IPv4 multicast in IPv6 form", info6(3, "::ffff:224.0.0.1"), nil},
		{"IPv6 unspecified", info6(3, "::"), nil},
		{"cut off", join(info6(3, "2001:db8::1")[:24]), nil},
		{"length 0", badLen(0), nil},
		{"length of half a header", badLen(15), nil},
		{"length of a header", badLen(16), nil},
		{"length beyond", badLen(33), nil},
		{"length overflow", badLen(-1), nil},
	} {
		out := controlBuffer{bytes: [controlBytesMax]byte{controlBytesMax - 1: 0xff, 9: 0xff}}
		n := replyControl(&out, tt.received)
		if string(out.bytes[:n]) != string(tt.want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, out.bytes[:n], tt.want)
		}
	}
}

// The control buffer must hold all that a dual-stack socket gets.
func TestControlBufferSize(t *testing.T) {
	need := unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	if need > controlBytesMax {
		t.Errorf("%d bytes needed, %d there", need, controlBytesMax)
	}
}

func TestSender(t *testing.T) {
	var name unix.RawSockaddrInet6
	name.Family = unix.AF_UNIX
	if got := sender(&name); got.IsValid() {
		t.Errorf("a sender of another family is %v", got)
	}
}

func FuzzReplyControl(f *testing.F) {
	f.Add(info4(1, "192.0.2.1", "192.0.2.1"))
	f.Add(join(info6(1, "fe80::1"), info4(1, "192.0.2.1", "192.0.2.1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, out controlBuffer
		n := replyControl(&out, in.bytes[:copy(in.bytes[:], b)])
		if n == 0 {
			return
		}
		var again controlBuffer
		m := replyControl(&again, out.bytes[:n])
		if m != n || again != out {
			t.Fatalf("%x became %x", out.bytes[:n], again.bytes[:m])
		}
	})
}
