package host

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

const (
	statBytes = "12 (a) b) S 1 12 12 0 -1 4194560 1 0 0 0 150 7 0 0 20 0 1 0 5 6 7"
	useBytes  = "cpu  1 2 3 1000 2000 4 5 6 70 80\ncpu0 1 2\ncpu3 1 2\nintr 1\ncpux\n"
	sockBytes = "sockets: used 5\nTCP: inuse 3 orphan 0 tw 0 alloc 5 mem 17\nUDP: inuse 1 mem 2\n"
	slabBytes = "slabinfo - version: 2.1\n" +
		"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n" +
		"kmalloc-4k           306    368   4096    8    8 : tunables    0    0    0\n" +
		"TCP                   13    130   2368   13    8 : tunables    0    0    0\n" +
		"filp                   0    966    192   21    1 : tunables    0    0    0\n"
	limitsBytes = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             96340                96340                processes \n" +
		"Max open files            1024                 4096                 files     \n"
	tcpBytes = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid" +
		"  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0" +
		"        0 12345 1 0000000000000000 100 0 0 10 0\n" +
		"   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0" +
		"        0 777 1 0000000000000000 100 0 0 10 0\n" +
		"   2: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0" +
		"        0 5 1 0000000000000000 100 0 0 10 0\n" +
		"   3: 0100007F:1F92 00000000:0000 0A beyond the listening ones\n"
	cpuinfoBytes = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 207\n" +
		"model name\t: Intel(R) Xeon(R)   Processor\nstepping\t: 2\n\n" +
		"processor\t: 1\nmodel\t\t: 9\nmodel name\t: another\n"
	armBytes = "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n"
)

func TestParseStat(t *testing.T) {
	want := loadgen.CPU{User: 1500 * time.Millisecond, System: 70 * time.Millisecond}
	if c, err := parseStat([]byte(statBytes)); err != nil || c != want {
		t.Errorf("stat: %+v, %v", c, err)
	}
	for _, b := range []string{"", "x", "1 (x) S 1 2", strings.Replace(statBytes, "150", "-1", 1),
		strings.Replace(statBytes, "150", "9223372036854775807", 1)} {
		if c, err := parseStat([]byte(b)); err == nil {
			t.Errorf("%q: %+v", b, c)
		}
	}
}

func TestParseUse(t *testing.T) {
	u, err := parseUse([]byte(useBytes), time.Minute)
	if want := (Use{Busy: 2*time.Minute - 3006*tick, Steal: 6 * tick,
		Idle: 3000 * tick}); err != nil || u != want {
		t.Errorf("use: %+v, want %+v, %v", u, want, err)
	}
	for _, b := range []string{"", "x", "cpu a b c d e f g h", "cpu0 1 2 3 4 5 6 7 8",
		"cpu  1 2 3 4 5 6 7 8\nintr 1"} {
		if u, err := parseUse([]byte(b), time.Hour); err == nil {
			t.Errorf("%q: %+v", b, u)
		}
	}
}

func TestInterference(t *testing.T) {
	before := Use{Busy: time.Hour, Steal: time.Hour, Idle: time.Hour}
	after := Use{Busy: before.Busy + 6*time.Second, Steal: before.Steal + time.Second,
		Idle: before.Idle + 3*time.Second, Softirq: time.Second / 2}
	got := after.Sub(before).Interference(3500 * time.Millisecond)
	if got != (Interference{Steal: 0.1, Other: 0.2}) {
		t.Errorf("interference: %+v", got)
	}
	if got := after.Sub(before).Interference(7 * time.Second); got.Other != 0 {
		t.Errorf("more known than used: %+v", got)
	}
	if got := (Use{}).Interference(0); got != (Interference{}) {
		t.Errorf("no time: %+v", got)
	}
}

func TestParseKilobytes(t *testing.T) {
	b := []byte("Rss:   12 kB\nPss: 3 kB\nBad: x kB\nHuge: 9223372036854775807 kB\n")
	if n, err := sumKilobytes(b, "Rss:", "Pss:"); err != nil || n != 15<<10 {
		t.Errorf("Rss and Pss: %d, %v", n, err)
	}
	for _, name := range []string{"Ss:", "Bad:", "Huge:", ""} {
		if n, err := sumKilobytes(b, name); err == nil {
			t.Errorf("%q: %d", name, n)
		}
	}
}

func TestParseSockstat(t *testing.T) {
	if n, err := parseSockstat([]byte(sockBytes)); err != nil || n != 17 {
		t.Errorf("sockstat: %d, %v", n, err)
	}
	for _, b := range []string{"", "TCP: inuse", "TCP: mem -1", "TCP: mem x", "UDP: inuse 1 mem 2"} {
		if n, err := parseSockstat([]byte(b)); err == nil {
			t.Errorf("%q: %d", b, n)
		}
	}
}

func TestParseSlabs(t *testing.T) {
	slabs, err := parseSlabs([]byte(slabBytes), 4096)
	if err != nil || len(slabs) != 2 || slabs["TCP"] != 8*4096 || slabs["filp"] != 0 {
		t.Errorf("slabs: %v, %v", slabs, err)
	}
	for _, b := range []string{"", "TCP 1 2 3", "TCP 1 2 3 0 5", "TCP 1 2 3 x 5", "TCP -1 2 3 4 5",
		"kmalloc-4k 1 2 3 4 5"} {
		if slabs, err := parseSlabs([]byte(b), 4096); err == nil {
			t.Errorf("%q: %v", b, slabs)
		}
	}
	k := Kernel{SlabBytes: 7}
	if n, exact := k.Sockets(); n != 7 || exact {
		t.Errorf("without slabinfo: %d, %v", n, exact)
	}
	k.Slabs = map[string]int64{"TCP": 2, "filp": 3}
	if n, exact := k.Sockets(); n != 5 || !exact {
		t.Errorf("with slabinfo: %d, %v", n, exact)
	}
}

func TestParseOpenFiles(t *testing.T) {
	unlimited := strings.Replace(limitsBytes, "1024     ", "unlimited", 1)
	for _, c := range []struct {
		b    string
		want int64
	}{{limitsBytes, 1024}, {unlimited, math.MaxInt64}} {
		if n, err := parseOpenFiles([]byte(c.b)); err != nil || n != c.want {
			t.Errorf("open files: %d, %v, want %d", n, err, c.want)
		}
	}
	for _, b := range []string{"", "Max open files", "Max open files x y"} {
		if n, err := parseOpenFiles([]byte(b)); err == nil {
			t.Errorf("%q: %d", b, n)
		}
	}
}

func TestParseListeners(t *testing.T) {
	all, err := parseListeners(strings.NewReader(tcpBytes))
	if err != nil || len(all) != 2 || all[0].inode != 12345 || all[1].inode != 777 ||
		all[0].addr != netip.MustParseAddrPort("127.0.0.1:8080") {
		t.Fatalf("listeners: %v, %v", all, err)
	}
	for _, row := range []string{"x", "0: 0100007F:1F90 0 0A 0 0 0 0 0 x", "0: 0100:1F90 0 0A 0 0 0 0 0 1",
		"0: 0100007F 0 0A 0 0 0 0 0 1", "0: 0100007F:1F901 0 0A 0 0 0 0 0 1"} {
		if all, err := parseListeners(strings.NewReader("names\n" + row)); err == nil {
			t.Errorf("%q: %v", row, all)
		}
	}
}

func TestListenerHears(t *testing.T) {
	for _, c := range []struct {
		own, to string
		want    bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"0.0.0.0:80", "127.0.0.2:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"[::]:80", "127.0.0.2:80", true},
		{"[::]:80", "[::1]:80", true},
		{"[::1]:80", "[::1]:80", true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true},
	} {
		l := listener{addr: netip.MustParseAddrPort(c.own)}
		if got := l.hears(netip.MustParseAddrPort(c.to)); got != c.want {
			t.Errorf("%s hears %s: %v", c.own, c.to, got)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for _, c := range []struct {
		b, name, model string
		count          int
	}{
		{cpuinfoBytes, "Intel(R) Xeon(R) Processor", "6-207-2", 2},
		{armBytes, "0x41 0xd0c", "0x41-0xd0c-0x3", 1},
		{"", "", "", 1},
	} {
		name, model, count := parseCPUs([]byte(c.b))
		if name != c.name || model != c.model || count != c.count {
			t.Errorf("%.20q: %q, %q, %d", c.b, name, model, count)
		}
	}
}

// Machines are alike when their kernel's build and what it keeps of memory differ, and no more.
func TestFingerprint(t *testing.T) {
	base := Machine{CPU: "x", CPUs: 2, Arch: "amd64", Kernel: "6.18.44-a", Memory: 24<<30 - 5<<20}
	same, other := base, base
	same.Kernel, same.Memory = "6.18.44-b", 24<<30-90<<20
	same.Available, same.Limits.FileMax = 5, 5
	if a, b := fingerprint(&base, "1"), fingerprint(&same, "1"); a != b {
		t.Errorf("%q and %q", a, b)
	}
	other.CPUs = 4
	if a, b := fingerprint(&base, "1"), fingerprint(&other, "1"); a == b {
		t.Errorf("2 and 4 processors: %q", a)
	}
	if a, b := fingerprint(&base, "1"), fingerprint(&base, "2"); a == b {
		t.Errorf("two models: %q", a)
	}
}

func TestParseSysctl(t *testing.T) {
	var a, b int64
	if err := parseSysctl([]byte("32768\t60999\n"), []*int64{&a, &b}); err != nil || a != 32768 ||
		b != 60999 {
		t.Errorf("%d %d, %v", a, b, err)
	}
	for _, s := range []string{"", "1", "1 2 3", "1 x"} {
		if err := parseSysctl([]byte(s), []*int64{&a, &b}); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// No parser may panic or return something below zero, whatever the kernel prints.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{statBytes, useBytes, sockBytes, slabBytes, limitsBytes, tcpBytes,
		cpuinfoBytes, armBytes, "Rss: 1 kB", "1 2\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cpu, _ := parseStat(b)
		use, _ := parseUse(b, time.Hour)
		pages, _ := parseSockstat(b)
		kb, _ := kilobytes(b, "Rss:")
		files, _ := parseOpenFiles(b)
		_, _, cpus := parseCPUs(b)
		if min(int64(cpu.User), int64(cpu.System), pages, kb, files) < 0 || cpus < 1 {
			t.Errorf("%v %d %d %d %d", cpu, pages, kb, files, cpus)
		}
		if use.Interference(0).Steal > 1 {
			t.Errorf("use %v", use)
		}
		slabs, err := parseSlabs(b, 4096)
		for name, n := range slabs {
			if n < 0 {
				t.Errorf("slab %s: %d", name, n)
			}
		}
		if err == nil && len(slabs) == 0 {
			t.Error("no slab and no error")
		}
		all, _ := parseListeners(strings.NewReader(string(b)))
		for _, l := range all {
			if !l.addr.IsValid() {
				t.Errorf("listener %v", l)
			}
		}
		var x, y int64
		_ = parseSysctl(b, []*int64{&x, &y})
	})
}
