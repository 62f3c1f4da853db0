package host

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Kernel is what the kernel holds for all sockets of the machine, both ends of a loopback
// connection included.
type Kernel struct {
	// TCPBytes are pages of TCP buffers of this network namespace, /proc/net/sockstat.
	TCPBytes int64 `json:"tcp_bytes"`
	// SlabBytes is the sum of all slabs, of which sockets are only a part, /proc/meminfo.
	SlabBytes int64 `json:"slab_bytes"`
	// Slabs are the bytes that live objects of sockets take, by slab, /proc/slabinfo. Only root
	// may read it; nil: not known.
	Slabs map[string]int64 `json:"slabs,omitempty"`
}

// Sockets is what sockets take in slabs, in bytes. If that is not known it is the sum of all slabs,
// which the rest of the machine moves as well, and exact is false.
func (k *Kernel) Sockets() (bytes int64, exact bool) {
	if k.Slabs == nil {
		return k.SlabBytes, false
	}
	for _, n := range k.Slabs {
		bytes += n
	}
	return bytes, true
}

// ReadKernel reads the three tables.
func ReadKernel() (k Kernel, err error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return k, err
	}
	if k.SlabBytes, err = kilobytes(b, "Slab:"); err != nil {
		return k, err
	}
	if b, err = os.ReadFile("/proc/net/sockstat"); err != nil {
		return k, err
	}
	pages, err := parseSockstat(b)
	if err != nil {
		return k, err
	}
	k.TCPBytes = pages * int64(os.Getpagesize())
	if b, err = os.ReadFile("/proc/slabinfo"); err != nil {
		return k, nil // not root, or a kernel without it: Slabs say so
	}
	k.Slabs, err = parseSlabs(b, os.Getpagesize())
	return k, err
}

// parseSockstat reads the pages of "TCP: inuse 3 orphan 0 tw 0 alloc 5 mem 2".
func parseSockstat(b []byte) (pages int64, err error) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		for i := 1; i+1 < len(f) && f[0] == "TCP:"; i++ {
			if f[i] != "mem" {
				continue
			}
			n, err := strconv.ParseInt(f[i+1], 10, 32)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("host: sockstat has TCP mem %q, not a count of pages", f[i+1])
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("host: sockstat has no TCP mem field")
}

// socketSlabs are what a TCP connection, its descriptor and its place in epoll or io_uring take. A
// kernel may merge slabs of one size, so some of them can be missing.
var socketSlabs = []string{
	"TCP", "TCPv6", "tw_sock_TCP", "tw_sock_TCPv6", "request_sock_TCP", "request_sock_TCPv6",
	"tcp_bind_bucket", "tcp_bind2_bucket", "sock_inode_cache", "filp", "dentry",
	"lsm_file_cache", "lsm_inode_cache", "ep_head", "eventpoll_epi", "eventpoll_pwq", "io_kiocb",
	"skbuff_head_cache", "skbuff_fclone_cache", "skbuff_small_head",
}

// parseSlabs reads lines "name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> …",
// slabinfo(5). An object takes its share of a slab's pages; free ones left from earlier are not
// counted.
func parseSlabs(b []byte, pageBytes int) (map[string]int64, error) {
	slabs := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || !slices.Contains(socketSlabs, f[0]) {
			continue
		}
		if len(f) < 6 {
			return nil, fmt.Errorf("host: slabinfo line %q has less than 6 fields", line)
		}
		var n [6]int64
		for i := 1; i < 6; i++ {
			v, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil || v < 0 || v > math.MaxInt32 {
				return nil, fmt.Errorf("host: slabinfo field %q of %s is no count", f[i], f[0])
			}
			n[i] = v
		}
		active, perSlab, pages := n[1], n[4], n[5]
		if perSlab == 0 {
			return nil, fmt.Errorf("host: slabinfo has no objects in a slab of %s", f[0])
		}
		slabs[f[0]] = int64(float64(active) * float64(pages) * float64(pageBytes) / float64(perSlab))
	}
	if len(slabs) == 0 {
		return nil, fmt.Errorf("host: slabinfo names no slab of sockets")
	}
	return slabs, nil
}
