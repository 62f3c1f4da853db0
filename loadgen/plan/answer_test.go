package plan

import (
	"math"
	"strings"
	"testing"
	"time"

	"derpd/loadgen/host"
)

// What a client, a login and a packet cost is what the model charges.
func TestCosts(t *testing.T) {
	s := newSim(50_000)
	res := plan(t, s, goal, Options{})
	m := res.Memory
	if m == nil || !near(m.UserClient, simClient, 0.01) ||
		!near(m.KernelClient, simSlab+simTCP, 0.01) || !m.KernelExact || m.Base != simBase ||
		m.Slabs["filp"] != int64(2*simSlab*m.Clients) || len(m.Slabs) != 1 {
		t.Errorf("memory: %+v", m)
	}
	if m.FilesBase != simFiles || m.FilesClient != 1 || m.FilesMax != simFilesMax {
		t.Errorf("files: %+v", m)
	}
	if want := simLoad * res.Planned.Rate; !near(float64(m.Load), want, 0.01) {
		t.Errorf("the planned load takes %d bytes, want %.0f", m.Load, want)
	}
	l := res.Logins
	if !near(l.CPUMicros, 800, 0.01) || !near(l.PerSecond, 1000, 0.01) || !l.Extrapolated ||
		!near(l.Planned, 0.8*simProcs*1e6/800, 0.01) || l.P99 < 10*time.Millisecond {
		t.Errorf("logins: %+v", l)
	}
	for _, row := range res.Steps {
		if row.Carried && !near(row.CPUMicros, float64(simCPUPacket.Microseconds()), 0.02) {
			t.Errorf("%.0f/s: %.1f µs a packet", row.Rate, row.CPUMicros)
		}
	}
	if !near(res.CorePackets, 125_000, 0.02) {
		t.Errorf("one processor: %.0f", res.CorePackets)
	}
}

// A ramp that took all of the relay's processors is its limit; nothing is extrapolated.
func TestLoginsAtTheLimit(t *testing.T) {
	s := newSim(50_000)
	s.loginRate = 2400
	l := plan(t, s, goal, Options{}).Logins
	if l.Extrapolated || l.AtLeast || !near(l.Planned, 2400, 0.01) {
		t.Errorf("logins: %+v", l)
	}
}

func TestWithoutGauge(t *testing.T) {
	blind := newSim(50_000)
	blind.blind = true
	none := newSim(50_000)
	p := none.planner(goal, Options{})
	p.Gauge = nil
	res, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, res := range map[string]*Result{"none": res, "blind": plan(t, blind, goal, Options{})} {
		if res.Memory != nil || res.CorePackets != 0 || res.Logins.CPUMicros != 0 ||
			!res.Logins.AtLeast || res.Planned.Rate == 0 || res.Hosts.Binding != Packets {
			t.Errorf("%s: memory %+v, logins %+v, hosts %+v", name, res.Memory, res.Logins, res.Hosts)
		}
		said := strings.Count(strings.Join(res.Notes, "\n"), "cannot be read: no such process")
		if said != map[string]int{"none": 0, "blind": 1}[name] {
			t.Errorf("%s: notes %q", name, res.Notes)
		}
	}
}

// Others on the machine are told of.
func TestNoisyMachine(t *testing.T) {
	for _, others := range []float64{0.01, 0.3} {
		s := newSim(50_000)
		s.others = others
		res := plan(t, s, goal, Options{})
		if got := res.Steps[0].Interference.Other; !near(got, others, 0.1) {
			t.Errorf("others used %.2f, seen %.3f", others, got)
		}
		said := strings.Contains(strings.Join(res.Notes, "\n"), "others used")
		if said != (others > quietMax) {
			t.Errorf("others used %.2f: notes %q", others, res.Notes)
		}
	}
}

// measured is a result as the search leaves it: 1000 packets/s and 10,000 B a client.
func measured(g Goal) *Result {
	return &Result{Goal: g, Machine: simMachine(), Safety: 0.8,
		Throughput: Knee{Rate: 1300, Above: 1400}, Latency: Knee{Rate: 1250, Above: 1300},
		Beyond:  &Beyond{Rate: 4000, Delivered: 1290, Kind: "flat"},
		Planned: Planned{Rate: 1000},
		Memory: &Memory{Clients: 1000, UserClient: 6000, KernelClient: 4000, KernelExact: true,
			Total: 10 << 30, FilesClient: 1, FilesBase: 12, FilesMax: 1 << 20},
		Logins: Logins{Planned: 1000}}
}

func TestHosts(t *testing.T) {
	const clientsByMemory = 858_993 // 0.8 · 10 GiB / 10,000 B
	for _, c := range []struct {
		name  string
		goal  Goal
		alter func(*Result)
		count int
		binds Constraint
	}{
		{"packets", Goal{Clients: 10, PacketsPerSecond: 5500, LoginsWithin: time.Minute}, nil,
			6, Packets},
		{"memory", Goal{Clients: 3 * clientsByMemory, PacketsPerSecond: 10, LoginsWithin: time.Hour},
			func(r *Result) { r.Memory.FilesMax = math.MaxInt64 }, 3, MemoryBytes},
		{"one more", Goal{Clients: 3*clientsByMemory + 1, LoginsWithin: time.Hour},
			func(r *Result) { r.Memory.FilesMax = math.MaxInt64 }, 4, MemoryBytes},
		{"load", Goal{Clients: 2 * clientsByMemory, LoginsWithin: time.Hour}, func(r *Result) {
			r.Memory.FilesMax, r.Memory.Load = math.MaxInt64, 5<<30
		}, 6, MemoryBytes},
		{"descriptors", Goal{Clients: 100_000, LoginsWithin: time.Hour},
			func(r *Result) { r.Memory.FilesMax = 20_000 }, 6, Descriptors},
		{"direct descriptors", Goal{Clients: 100_000, LoginsWithin: time.Hour}, func(r *Result) {
			r.Memory.FilesMax, r.Memory.FilesClient = 20_000, 0.001
		}, 1, MemoryBytes},
		{"logins", Goal{Clients: 100_000, LoginsWithin: 10 * time.Second}, nil, 10, LoginRate},
		{"nothing planned", Goal{Clients: 10, PacketsPerSecond: 5, LoginsWithin: time.Hour},
			func(r *Result) { r.Planned.Rate = 0 }, 0, Packets},
		{"no room", Goal{Clients: 10, LoginsWithin: time.Hour},
			func(r *Result) { r.Memory.Base = 9 << 30 }, 0, MemoryBytes},
		{"no goal", Goal{LoginsWithin: time.Hour}, nil, 0, ""},
	} {
		res := measured(c.goal)
		if c.alter != nil {
			c.alter(res)
		}
		h := hosts(res)
		if h.Count != c.count || h.Binding != c.binds {
			t.Errorf("%s: %d hosts by %s, want %d by %s: %+v", c.name, h.Count, h.Binding, c.count,
				c.binds, h.Needs)
		}
		if h.Count > 0 && (h.Clients*h.Count < c.goal.Clients ||
			h.Packets*float64(h.Count) < c.goal.PacketsPerSecond-0.1) {
			t.Errorf("%s: %d hosts with %d clients and %.0f packets/s each", c.name, h.Count,
				h.Clients, h.Packets)
		}
	}
}

func TestBreaks(t *testing.T) {
	for want, alter := range map[string]func(*Result){
		"goes on delivering": func(*Result) {},
		"it collapses":       func(r *Result) { r.Beyond.Kind = "collapses" },
		"delivers less":      func(r *Result) { r.Beyond.Kind = "falls" },
		"latency: above":     func(r *Result) { r.Throughput.Rate = 3000 },
		"not seen":           func(r *Result) { r.Latency.AtLeast = true },
		"descriptors: a":     func(r *Result) { r.Memory.FilesMax = 50 },
		"nothing can be":     func(r *Result) { r.Planned.Rate = 0 },
	} {
		res := measured(Goal{Clients: 100, PacketsPerSecond: 1000, LoginsWithin: time.Hour})
		alter(res)
		res.Hosts = hosts(res)
		if got := breaks(res); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}

// Only what is needed is advised, and with the lines that fix it.
func TestAdvice(t *testing.T) {
	const clients = 100_000
	enough := host.Limits{FileMax: 1 << 20, NROpen: 1 << 20, SomaxConn: 8192, SYNBacklog: 8192,
		TCPMem: [3]int64{280000, 380000, 560000}, Ports: [2]int64{32768, 60999}}
	for _, c := range []struct {
		alter func(*Result)
		want  []string
	}{
		{func(*Result) {}, nil},
		{func(r *Result) { r.Machine.Limits = host.Limits{} }, nil}, // not known
		{func(r *Result) { r.Memory = nil }, nil},
		{func(r *Result) { r.Memory.FilesMax = 100_500 }, []string{"LimitNOFILE=126000"}},
		{func(r *Result) { r.Memory.FilesMax, r.Machine.Limits.NROpen = 100_500, 100_500 },
			[]string{"sysctl -w fs.nr_open=126000", "LimitNOFILE=126000"}},
		{func(r *Result) { r.Memory.FilesMax = 20_000 }, // 6 hosts, or 1 with the limit raised
			[]string{"LimitNOFILE=126000"}},
		{func(r *Result) { r.Machine.Limits.FileMax = 100_500 },
			[]string{"sysctl -w fs.file-max=126000"}},
		{func(r *Result) { r.Machine.Limits.FileMax, r.Memory.FilesClient = 100_500, 0.001 },
			[]string{"sysctl -w fs.file-max=126000"}}, // io_uring's files are files as well
		{func(r *Result) { r.Machine.Limits.SomaxConn = 4096 },
			[]string{"sysctl -w net.core.somaxconn=8192"}},
		{func(r *Result) { r.Machine.Limits.SYNBacklog = 128 },
			[]string{"sysctl -w net.ipv4.tcp_max_syn_backlog=8192"}},
		{func(r *Result) { r.Logins.Planned = 1e6; r.Machine.Limits.SomaxConn = 65535 },
			[]string{"sysctl -w net.ipv4.tcp_max_syn_backlog=65535"}},
		{func(r *Result) { r.Machine.Limits.ConntrackMax = 65536 },
			[]string{"sysctl -w net.netfilter.nf_conntrack_max=126000"}},
		{func(r *Result) { r.Machine.Limits.Ports = [2]int64{60000, 60999} },
			[]string{"sysctl -w net.ipv4.ip_local_port_range=\"15000 64999\""}},
		{func(r *Result) { r.Memory.tcpClient = 0.4 * 380000 * 4096 / clients }, nil},
		{func(r *Result) { r.Memory.tcpClient = 1.0 * 380000 * 4096 / clients }, // twice the half
			[]string{"sysctl -w net.ipv4.tcp_mem=\"560000 760000 1120000\""}},
	} {
		res := measured(Goal{Clients: clients, PacketsPerSecond: 1000, LoginsWithin: time.Hour})
		res.Machine.Limits, res.Logins.Planned = enough, 1500
		c.alter(res)
		res.Hosts = hosts(res)
		var got []string
		for _, a := range advise(res) {
			got = append(got, a.Line)
			if a.Why == "" {
				t.Errorf("%s without a reason", a.Line)
			}
		}
		if strings.Join(got, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("advice %q, want %q (hosts %+v)", got, c.want, res.Hosts)
		}
	}
}

func TestWorkloadOfGoal(t *testing.T) {
	for _, c := range []struct {
		goal    Goal
		clients int
		total   int
		pairs   int
	}{
		{Goal{Clients: 100_000, Active: 0.1}, 0, 4800, 240},
		{Goal{Clients: 500, Active: 0.5}, 0, 500, 125},
		{Goal{Clients: 500, Active: 1}, 0, 500, 250},
		{Goal{Active: 0.1}, 300, 300, 15},
		{Goal{Clients: 1, Active: 0.001}, 0, clientsMin, 1},
	} {
		w := c.goal.workload(time.Minute, c.clients)
		if w.Clients() != c.total || w.Groups[0].Senders != c.pairs || !hasShare(&w) {
			t.Errorf("%+v: %d clients, %d pairs", c.goal, w.Clients(), w.Groups[0].Senders)
		}
	}
}
