package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"derpd/loadgen/units"
)

const (
	nameColumns   = 16
	valueColumns  = 13
	remarkColumns = 13 // right of a sparkline
	barColumnsMin = 5  // a shorter bar or sparkline says nothing
)

// rows draws the scene for a terminal of that width.
func (s *scene) rows(columns int) []row {
	width := max(columns, columnsMin) - 1
	return []row{
		s.heading(width),
		{{dim, strings.Repeat("─", width)}},
		s.connections(width),
		{},
		s.trend("packets in", units.Whole(s.in.perSecond())+"/s", &s.ins, units.SI, width),
		s.trend("packets out", units.Whole(s.out.perSecond())+"/s", &s.outs, units.SI, width),
		{},
		s.trend("latency p50", units.Time(s.p50), &s.p50s, units.Nanos, width),
		s.trend("latency p99", units.Time(s.p99), &s.p99s, units.Nanos, width),
		{},
		s.drops(),
		{},
		s.processor("CPU relay", &s.relayCPU),
		s.processor("CPU loadgen", &s.ourCPU),
		s.memory(),
		{},
		{{dim, fmt.Sprintf("%s packets delivered", units.Count(s.fleet.Delivered))}},
	}
}

func (s *scene) heading(width int) row {
	right := units.Clock(s.since) + " of " + units.Clock(s.length) + " · Ctrl-C ends"
	left := units.Fit(units.Printable(s.demo.Title), max(width-len([]rune(right))-2, 0))
	gap := strings.Repeat(" ", max(width-len([]rune(left))-len([]rune(right)), 1))
	return row{{bold, left}, {plain, gap}, {dim, right}}
}

func name(text string) span   { return span{dim, fmt.Sprintf("%-*s", nameColumns, text)} }
func value(text string) span  { return span{bold, fmt.Sprintf("%-*s", valueColumns, text)} }
func remark(text string) span { return span{dim, text} }

// connections has a bar of those that are logged in.
func (s *scene) connections(width int) row {
	r := row{name("connections"), value(units.Count(s.relay.Connections))}
	in := fmt.Sprintf("%s of %s clients in", units.Count(s.fleet.Clients),
		units.Count(s.fleet.Wanted))
	failed := ""
	if n := s.fleet.Failures.Sum(); n > 0 {
		failed = fmt.Sprintf(", %s failed", units.Count(n))
	}
	room := min(width-r.columns()-len(in)-len(failed)-1, sparkColumnsMax)
	if room >= barColumnsMin && s.fleet.Wanted > 0 {
		full := min(max(room*s.fleet.Clients/s.fleet.Wanted, 0), room)
		r = append(r, span{accent, strings.Repeat("█", full)},
			span{dim, strings.Repeat("░", room-full) + " "})
	}
	return append(r, remark(in), span{red, failed})
}

// trend is a figure with its last minute.
func (s *scene) trend(label, now string, past *series, format func(float64) string,
	width int) row {
	r := row{name(label), value(now)}
	room := min(width-r.columns()-remarkColumns, sparkColumnsMax)
	if room < barColumnsMin {
		return r
	}
	values := past.seconds(room)
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	return append(r, span{accent, spark(values, room)}, remark(" max "+format(top)))
}

func (s *scene) drops() row {
	r := row{name("drops")}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(s.relay.Dropped)) {
		if n := s.relay.Dropped[reason]; n > 0 {
			parts = append(parts, units.Printable(reason)+" "+units.Count(n))
		}
	}
	if len(parts) == 0 {
		return append(r, value("none"))
	}
	return append(r, span{red, strings.Join(parts, " · ")})
}

func (s *scene) processor(label string, cpu *meter) row {
	r := row{name(label), value(strings.TrimSuffix(cpuShare(cpu), " CPU"))}
	used, _ := cpu.grown()
	if packets, _ := s.delivered.grown(); packets > 0 {
		r = append(r, remark(fmt.Sprintf("of one processor, %.2f µs a packet", used/packets/1e3)))
	}
	return r
}

func (s *scene) memory() row {
	r := row{name("memory relay"), value(units.Bytes(float64(s.relay.RSSBytes)))}
	if s.fleet.Clients > 0 {
		r = append(r, remark(units.Bytes(float64(s.relay.RSSBytes)/float64(s.fleet.Clients))+
			" a client"))
	}
	return r
}
