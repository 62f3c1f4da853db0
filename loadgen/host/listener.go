package host

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listeners returns the processes that listen on a TCP address, or on its port at all addresses, in
// this network namespace, in ascending order. There are several if a relay has forked or is just
// being replaced. It is an error if there is none, or if this user may not see whose it is.
func Listeners(addr netip.AddrPort) ([]int, error) {
	inodes := map[uint64]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := parseListeners(f)
		_ = f.Close() // only read
		if err != nil {
			return nil, fmt.Errorf("host: %s: %w", table, err)
		}
		for _, l := range found {
			if l.hears(addr) {
				inodes[l.inode] = true
			}
		}
	}
	if len(inodes) == 0 {
		return nil, fmt.Errorf("host: nobody listens on %v in this network namespace", addr)
	}
	pids, err := holders(inodes)
	if err == nil && len(pids) == 0 {
		err = fmt.Errorf("host: this user may not see which process listens on %v: "+
			"run as the relay's user or root, or pass its pid", addr)
	}
	return pids, err
}

// listener is one row of the kernel's table.
type listener struct {
	addr  netip.AddrPort
	inode uint64
}

// hears tells whether connections to an address reach the listener.
func (l listener) hears(addr netip.AddrPort) bool {
	if l.addr.Port() != addr.Port() {
		return false
	}
	own, to := l.addr.Addr(), addr.Addr().Unmap()
	// A listener on :: takes IPv4 as well unless it was told not to, which the table does not say.
	return own.Unmap() == to || own.IsUnspecified() && (own.Is6() || to.Is4())
}

// parseListeners reads rows up to the first that does not listen:
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
//	 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 12345 …
func parseListeners(r io.Reader) (all []listener, err error) {
	const listening = "0A" // TCP_LISTEN
	s := bufio.NewScanner(r)
	for n := 0; n < listenLinesMax && s.Scan(); n++ {
		f := strings.Fields(s.Text())
		if n == 0 {
			continue // names of the columns
		}
		if len(f) < 10 {
			return nil, fmt.Errorf("row %q has less than 10 fields", s.Text())
		}
		if f[3] != listening {
			break
		}
		addr, err := parseHexAddr(f[1])
		if err != nil {
			return nil, err
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("inode %q is no number", f[9])
		}
		all = append(all, listener{addr, inode})
	}
	return all, s.Err()
}

// parseHexAddr reads an address as the kernel prints it: 32-bit words of network order, printed as
// numbers of this machine's order, and the port.
func parseHexAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err1 := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err1 != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q is not as the kernel prints it", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	addr, _ := netip.AddrFromSlice(b) // 4 or 16 bytes
	return netip.AddrPortFrom(addr, uint16(p)), nil
}

// holders finds the processes with a descriptor of one of the sockets. What cannot be read is
// passed over: processes end meanwhile, and others are not ours to see.
func holders(inodes map[uint64]bool) (pids []int, err error) {
	links := map[string]bool{}
	for inode := range inodes {
		links[fmt.Sprintf("socket:[%d]", inode)] = true
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err == nil && holds(filepath.Join("/proc", p.Name(), "fd"), links) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func holds(folder string, links map[string]bool) bool {
	d, err := os.Open(folder)
	if err != nil {
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // none, or those before the process ended
	return slices.ContainsFunc(names, func(name string) bool {
		link, err := os.Readlink(filepath.Join(folder, name))
		return err == nil && links[link]
	})
}
