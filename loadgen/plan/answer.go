package plan

import (
	"fmt"
	"math"
	"slices"
)

// answer concludes from what was measured.
func (r *run) answer() {
	res := r.res
	res.Memory = r.memory()
	res.CorePackets = r.corePackets()
	res.Hosts = hosts(res)
	res.Breaks = breaks(res)
	res.Advice = advise(res)
	r.noteNoise()
}

// memory tells what clients took in the first ramp, and what the planned load takes beside.
func (r *run) memory() *Memory {
	if !r.gauged || r.res.Logins.Clients == 0 {
		return nil
	}
	clients := float64(r.res.Logins.Clients)
	before, after := &r.before, &r.ramped
	m := &Memory{Clients: r.res.Logins.Clients, Base: before.RSSBytes, Total: r.res.Machine.Memory,
		FilesBase: before.Descriptors, FilesMax: after.DescriptorsMax}
	m.UserClient = max(0, float64(after.RSSBytes-before.RSSBytes)/clients)
	m.FilesClient = max(0, float64(after.Descriptors-before.Descriptors)/clients)
	slabsBefore, _ := before.Kernel.Sockets()
	slabs, exact := after.Kernel.Sockets()
	kernel := slabs - slabsBefore + after.Kernel.TCPBytes - before.Kernel.TCPBytes
	m.KernelClient, m.KernelExact = max(0, float64(kernel)/2/clients), exact
	for name, bytes := range after.Kernel.Slabs {
		if grown := bytes - before.Kernel.Slabs[name]; grown > 0 {
			if m.Slabs == nil {
				m.Slabs = map[string]int64{}
			}
			m.Slabs[name] = grown
		}
	}
	for _, row := range r.at(0, r.res.Planned.Rate) {
		if row.RSSBytes > 0 {
			load := row.RSSBytes - after.RSSBytes + (row.tcp-after.Kernel.TCPBytes)/2
			m.Load = max(m.Load, load)
			m.tcpClient = max(m.tcpClient, float64(row.tcp-before.Kernel.TCPBytes)/2/clients)
		}
	}
	return m
}

// client is the bytes of one client.
func (m *Memory) client() float64 { return m.UserClient + m.KernelClient }

// corePackets extrapolates from the processor time of a packet at the highest rate carried.
func (r *run) corePackets() float64 {
	var best *Row
	for _, row := range r.at(0, r.res.Throughput.Rate) {
		if row.Carried && row.CPUMicros > 0 && (best == nil || row.Rate > best.Rate) {
			best = row
		}
	}
	if best == nil {
		return 0
	}
	return math.Round(1e6 / best.CPUMicros)
}

// hosts asks each constraint for its number; the largest binds.
func hosts(res *Result) (h Hosts) {
	g := &res.Goal
	if g.PacketsPerSecond > 0 {
		p := &res.Planned
		h.need(Packets, g.PacketsPerSecond, p.Rate, p.AtLeast,
			fmt.Sprintf("planned load of %.0f packets/s: %s", p.Rate, p.Why))
	}
	if m := res.Memory; g.Clients > 0 && m != nil {
		h.byMemory(res, m)
		h.byFiles(g.Clients, m)
	}
	if l := &res.Logins; g.Clients > 0 && l.Planned > 0 {
		h.need(LoginRate, float64(g.Clients), l.Planned*g.LoginsWithin.Seconds(), l.AtLeast,
			fmt.Sprintf("%.0f logins/s for %v: %s", l.Planned, g.LoginsWithin, l.Why))
	}
	for _, n := range h.Needs {
		if n.Hosts == 0 {
			h.Count, h.Binding = 0, n.Constraint
			return h
		}
		if n.Hosts > h.Count {
			h.Count, h.Binding = n.Hosts, n.Constraint
		}
	}
	if h.Count > 0 {
		h.Clients = int(math.Ceil(float64(g.Clients) / float64(h.Count)))
		h.Packets = g.PacketsPerSecond / float64(h.Count)
	}
	return h
}

// need adds a constraint; 0 hosts if one host carries nothing.
func (h *Hosts) need(c Constraint, goal, perHost float64, atMost bool, rests string) {
	n := Need{Constraint: c, PerHost: max(0, math.Floor(perHost)), AtMost: atMost, Rests: rests}
	if count := math.Ceil(goal / n.PerHost); n.PerHost > 0 && count < math.MaxInt32 {
		n.Hosts = int(count)
	}
	h.Needs = append(h.Needs, n)
}

func (h *Hosts) byMemory(res *Result, m *Memory) {
	if m.client() < growthMin || m.Total == 0 {
		return
	}
	room := res.Safety*float64(m.Total) - float64(m.Base+m.Load)
	kernel := "its sockets' slabs and buffers"
	if !m.KernelExact {
		kernel = "by all slabs of the machine: slabinfo is for root"
	}
	h.need(MemoryBytes, float64(res.Goal.Clients), room/m.client(), false, fmt.Sprintf(
		"%.0f bytes a client in the relay and %.0f in the kernel (%s), by %d clients; "+
			"%s for the relay itself and its load; %g of %s", m.UserClient, m.KernelClient, kernel,
		m.Clients, size(m.Base+m.Load), res.Safety, size(m.Total)))
}

func (h *Hosts) byFiles(clients int, m *Memory) {
	// io_uring's direct descriptors are no open files.
	if m.FilesClient < 0.01 || m.FilesMax == math.MaxInt64 {
		return
	}
	room := float64(m.FilesMax - int64(m.FilesBase))
	h.need(Descriptors, float64(clients), room/m.FilesClient, false, fmt.Sprintf(
		"%.2f open files a client, the relay's limit is %d, %d of them its own",
		m.FilesClient, m.FilesMax, m.FilesBase))
}

// breaks says what gives way first when a host gets more than is planned.
func breaks(res *Result) string {
	p := &res.Planned
	if p.Rate == 0 {
		return "nothing can be planned: " + p.Why
	}
	switch h := &res.Hosts; h.Binding {
	case MemoryBytes, Descriptors, LoginRate:
		for _, n := range h.Needs {
			if n.Constraint == h.Binding {
				return fmt.Sprintf("%s: a host has enough for %.0f clients (%s)", n.Constraint,
					n.PerHost, n.Rests)
			}
		}
	}
	switch {
	case res.Latency.AtLeast:
		return "not seen: the generator or the time was at its end before the relay was; " +
			res.Latency.Why
	case res.Throughput.Rate > kneeRatio*res.Latency.Rate || res.Beyond == nil:
		return fmt.Sprintf("latency: above %.0f packets/s the p99 passes %v; %s", res.Latency.Rate,
			res.Goal.P99, res.Latency.Why)
	}
	text := fmt.Sprintf("throughput: above %.0f packets/s less is delivered than is due; ",
		res.Throughput.Rate)
	b := res.Beyond
	switch b.Kind {
	case "flat":
		text += "overloaded it goes on delivering"
	case "falls":
		text += "overloaded it delivers less than before"
	default:
		text += "overloaded it collapses"
	}
	return text + fmt.Sprintf(": %.0f/s of %.0f/s", b.Delivered, b.Rate)
}

// noteNoise says which share of the processors others had, if it matters.
func (r *run) noteNoise() {
	var shares []float64
	for i := range r.res.Steps {
		n := r.res.Steps[i].Interference
		shares = append(shares, n.Steal+n.Other)
	}
	slices.Sort(shares)
	if n := len(shares); n > 0 && shares[n*3/4] > quietMax {
		r.note("in a quarter of the steps others used %.0f %% of this machine or more: "+
			"what is planned is on the low side, and plans on a quiet machine differ",
			100*shares[n*3/4])
	}
}

// size tells bytes for people.
func size(bytes int64) string {
	const unit = 1 << 10
	value, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
