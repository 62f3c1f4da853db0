package netpoll

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addrPortOf reads a kernel's address. A v4-mapped one is told as the IPv4 address it is; a
// zone is told as the number of its interface. Anything but IP gives the zero value.
func addrPortOf(raw *unix.RawSockaddrAny) netip.AddrPort {
	switch raw.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), portOf(&sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		addr := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 {
			addr = addr.WithZone(strconv.Itoa(int(sa.Scope_id)))
		}
		return netip.AddrPortFrom(addr, portOf(&sa.Port))
	}
	return netip.AddrPort{}
}

// portOf reads a port, which lies in memory in network byte order.
func portOf(port *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// sockaddrOf gives the kernel's form of an address and its family.
func sockaddrOf(a netip.AddrPort) (unix.Sockaddr, int, error) {
	addr := a.Addr().Unmap()
	switch {
	case !addr.IsValid():
		return nil, 0, fmt.Errorf("netpoll: no address given (%v): name an IP and a port", a)
	case addr.Is4():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}, unix.AF_INET, nil
	}
	zone, err := zoneIndex(addr.Zone())
	if err != nil {
		return nil, 0, err
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), ZoneId: zone, Addr: addr.As16()}
	return sa, unix.AF_INET6, nil
}

// rawSockaddr is the form that the kernel reads, on the heap, and its length.
func rawSockaddr(sa unix.Sockaddr) (*unix.RawSockaddrAny, int) {
	raw := new(unix.RawSockaddrAny)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		in.Family, in.Addr = unix.AF_INET, sa.Addr
		setPort(&in.Port, sa.Port)
		return raw, unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		in.Family, in.Addr, in.Scope_id = unix.AF_INET6, sa.Addr, sa.ZoneId
		setPort(&in.Port, sa.Port)
		return raw, unix.SizeofSockaddrInet6
	}
	return raw, 0
}

// setPort writes a port in network byte order.
func setPort(to *uint16, port int) {
	b := (*[2]byte)(unsafe.Pointer(to))
	b[0], b[1] = byte(port>>8), byte(port)
}

// zoneIndex is the number of the interface that an IPv6 zone names or numbers (RFC 4007
// section 11.2).
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifc, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("netpoll: zone %q is no interface here: %w", zone, err)
	}
	return uint32(ifc.Index), nil
}

// localAddrOf asks the kernel which address a socket is bound to.
func localAddrOf(fd int32) (netip.AddrPort, error) {
	var raw unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&raw)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addrPortOf(&raw), nil
}
