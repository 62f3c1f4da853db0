package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are the limits and settings that a relay or a load generator can run into. One that is 0
// is not known: the kernel does not have it, or a container hides it.
type Limits struct {
	NoFileSoft uint64 `json:"rlimit_nofile_soft"` // of this process; a service manager sets others
	NoFileHard uint64 `json:"rlimit_nofile_hard"`

	FileMax      int64    `json:"fs.file-max"` // open files of all processes
	NROpen       int64    `json:"fs.nr_open"`  // the most that RLIMIT_NOFILE can be
	SomaxConn    int64    `json:"net.core.somaxconn"`
	SYNBacklog   int64    `json:"net.ipv4.tcp_max_syn_backlog"`
	TCPMem       [3]int64 `json:"net.ipv4.tcp_mem"`  // pages: low, pressure, most
	TCPRmem      [3]int64 `json:"net.ipv4.tcp_rmem"` // bytes: least, at first, most
	TCPWmem      [3]int64 `json:"net.ipv4.tcp_wmem"` // bytes: least, at first, most
	Ports        [2]int64 `json:"net.ipv4.ip_local_port_range"`
	TWBuckets    int64    `json:"net.ipv4.tcp_max_tw_buckets"`
	ConntrackMax int64    `json:"net.netfilter.nf_conntrack_max"` // 0 also: nothing is tracked
}

func readLimits() (l Limits, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return l, fmt.Errorf("host: limit of open files: %w", err)
	}
	l.NoFileSoft, l.NoFileHard = r.Cur, r.Max
	for _, s := range []struct {
		name string
		into []*int64
	}{
		{"fs.file-max", []*int64{&l.FileMax}},
		{"fs.nr_open", []*int64{&l.NROpen}},
		{"net.core.somaxconn", []*int64{&l.SomaxConn}},
		{"net.ipv4.tcp_max_syn_backlog", []*int64{&l.SYNBacklog}},
		{"net.ipv4.tcp_mem", []*int64{&l.TCPMem[0], &l.TCPMem[1], &l.TCPMem[2]}},
		{"net.ipv4.tcp_rmem", []*int64{&l.TCPRmem[0], &l.TCPRmem[1], &l.TCPRmem[2]}},
		{"net.ipv4.tcp_wmem", []*int64{&l.TCPWmem[0], &l.TCPWmem[1], &l.TCPWmem[2]}},
		{"net.ipv4.ip_local_port_range", []*int64{&l.Ports[0], &l.Ports[1]}},
		{"net.ipv4.tcp_max_tw_buckets", []*int64{&l.TWBuckets}},
		{"net.netfilter.nf_conntrack_max", []*int64{&l.ConntrackMax}},
	} {
		b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return l, err
		}
		if err := parseSysctl(b, s.into); err != nil {
			return l, fmt.Errorf("host: sysctl %s: %w", s.name, err)
		}
	}
	return l, nil
}

// parseSysctl reads exactly as many numbers as there are places for.
func parseSysctl(b []byte, into []*int64) error {
	f := strings.Fields(string(b))
	if len(f) != len(into) {
		return fmt.Errorf("%q has %d numbers, want %d", b, len(f), len(into))
	}
	for i, s := range f {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", s)
		}
		*into[i] = n
	}
	return nil
}
