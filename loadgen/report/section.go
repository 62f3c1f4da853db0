package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/plotting"
	"derpd/loadgen/units"
)

// Section is a part of what people see, in a terminal and on a page alike. Other rooms make
// sections of their own results, such as a plan's, and hand them to Text and HTML.
type Section struct {
	Title  string
	Lines  []string // sentences before the tables
	Tables []Table
	Notes  []string // sentences below the tables
	Items  []string // a line each, whatever their length: a terminal shows the beginning
	Charts []plotting.Chart
}

// Table has figures, aligned right, and Left columns of text before them.
type Table struct {
	Head []string // none: no head line
	Rows [][]string
	Left int // 0 means 1
}

func (t *Table) left() int { return cmp.Or(t.Left, 1) }

// none stands for a figure that is not known.
const none = "–"

// summary says what was run, where and how.
func summary(r *Report) Section {
	facts := Table{Left: 2}
	fact := func(name, value string) {
		if value != "" {
			facts.Rows = append(facts.Rows, []string{name, value})
		}
	}
	for _, t := range r.Job.Targets {
		way := "TLS"
		if t.Plain {
			way = "plain TCP"
		}
		fact("relay", fmt.Sprintf("%s (%s), %s", t.Addr, t.Host, way))
	}
	if r.Job.Workload.Clients() > 0 {
		fact("workload", workloadName(&r.Job.Workload))
	}
	if len(r.Merged) == 0 {
		fact("generator", machineName(r.Host, &r.Machine))
	}
	for i := range r.Merged {
		fact("generator", machineName(r.Merged[i].Host, &r.Merged[i].Machine))
	}
	fact("program", strings.TrimSpace("loadgen "+r.Version))
	fact("command", r.Command)
	if r.Job.Options.Seed != 0 && len(r.Merged) == 0 {
		fact("seed", strconv.FormatUint(r.Job.Options.Seed, 10))
	}
	if !r.Time.IsZero() {
		fact("began", r.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return Section{Title: r.title(), Tables: []Table{facts}}
}

// title names the report in a line.
func (r *Report) title() string {
	title := "loadgen: " + cmp.Or(r.Job.Workload.Name, string(r.Kind))
	if r.Kind == Plan {
		title = "loadgen plan"
		if r.Job.Workload.Name != "" {
			title += ": " + r.Job.Workload.Name
		}
	}
	if n := len(r.Merged); n > 0 {
		title += fmt.Sprintf(", from %d machines", n)
	}
	return title
}

func workloadName(w *loadgen.Workload) string {
	parts := []string{units.Count(w.Clients()) + " clients"}
	if w.Idle > 0 && len(w.Groups) > 0 {
		parts = append(parts, units.Count(w.Idle)+" of them idle")
	}
	for i := range w.Groups {
		g := &w.Groups[i]
		parts = append(parts, fmt.Sprintf("%s: %s to %s, mean %s a packet", g.Name,
			units.Count(g.Senders), units.Count(g.Receivers), units.Bytes(loadgen.MeanBytes(g.Sizes))))
	}
	return strings.Join(parts, "; ")
}

func machineName(name string, m *host.Machine) string {
	var parts []string
	for _, part := range []string{name, m.CPU} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if m.CPUs > 0 {
		parts = append(parts, fmt.Sprintf("%d CPUs", m.CPUs))
	}
	if m.Memory > 0 {
		parts = append(parts, units.Memory(float64(m.Memory)))
	}
	if m.Kernel != "" {
		parts = append(parts, "Linux "+strings.TrimPrefix(m.Kernel, "Linux "))
	}
	return strings.Join(parts, ", ")
}

// rampSection tells what logging in took.
func rampSection(ramp *loadgen.RampResult) Section {
	s := Section{Title: "Logging in"}
	rate := none
	if ramp.Took > 0 {
		rate = units.Whole(float64(ramp.Clients) / ramp.Took.Seconds())
	}
	s.Tables = []Table{{
		Head: []string{"clients", "wanted", "time", "logins/s", "login p50", "p99", "max",
			"processes"},
		Rows: [][]string{{units.Count(ramp.Clients), units.Count(ramp.Wanted),
			units.Time(ramp.Took), rate, latency(ramp.Login, 50), latency(ramp.Login, 99),
			longest(ramp.Login), units.Count(ramp.Processes)}},
	}}
	if len(ramp.Relays) > 0 && ramp.Clients > 0 {
		s.Tables = append(s.Tables, relayRamp(ramp))
	}
	if ramp.Why != "" {
		s.Notes = append(s.Notes, processes(ramp.Processes)+": "+ramp.Why)
	}
	if ramp.Partial {
		s.Notes = append(s.Notes, "Interrupted before all were in.")
	}
	s.Items = ramp.Failures.Lines()
	if chart := loginChart(ramp); chart != nil {
		s.Charts = append(s.Charts, *chart)
	}
	return s
}

func processes(n int) string {
	if n == 1 {
		return "one process"
	}
	return units.Count(n) + " processes"
}

// relayRamp tells what the clients cost the relays. Kernel memory is of both ends of a connection,
// which are alike, and both on this machine.
func relayRamp(ramp *loadgen.RampResult) Table {
	var cpu loadgen.CPU
	var grew int64
	for _, r := range ramp.Relays {
		cpu.User += r.CPU.User
		cpu.System += r.CPU.System
		grew += r.GrewBytes
	}
	n := float64(ramp.Clients)
	kernel := none
	if ramp.KernelBytes > 0 {
		kernel = units.Bytes(float64(ramp.KernelBytes) / 2 / n)
	}
	return Table{
		Head: []string{"relay", "memory", "before", "a client", "kernel, a client", "CPU a login",
			"user", "kernel"},
		Rows: [][]string{{"", units.Bytes(float64(residentBytes(ramp.Relays))),
			units.Bytes(float64(residentBytes(ramp.Relays) - grew)), units.Bytes(float64(grew) / n),
			kernel, units.Nanos(float64(cpu.Sum()) / n), units.Nanos(float64(cpu.User) / n),
			units.Nanos(float64(cpu.System) / n)}},
	}
}

func residentBytes(relays []loadgen.RelayUse) (sum int64) {
	for _, r := range relays {
		sum += r.RSSBytes
	}
	return sum
}

func latency(h *loadgen.Hist, percent float64) string {
	if h.Count() == 0 {
		return none
	}
	return units.Time(h.At(percent))
}

func longest(h *loadgen.Hist) string {
	if h.Count() == 0 {
		return none
	}
	return units.Time(h.Max())
}

// memorySection tells the relay's memory over the number of clients.
func memorySection(points []MemoryPoint) Section {
	t := Table{Head: []string{"clients", "relay", "kernel", "relay/client", "kernel/client"}}
	for _, p := range points {
		row := []string{units.Count(p.Clients), units.Bytes(float64(p.UserBytes)), none, none, none}
		if p.KernelBytes > 0 {
			row[2] = units.Bytes(float64(p.KernelBytes))
		}
		if p.Clients > 0 {
			row[3] = units.Bytes(float64(p.UserBytes) / float64(p.Clients))
			if p.KernelBytes > 0 {
				row[4] = units.Bytes(float64(p.KernelBytes) / float64(p.Clients))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return Section{Title: "Memory of the relay", Tables: []Table{t},
		Charts: []plotting.Chart{memoryChart(points)}}
}

// verdict is the last word.
func verdict(r *Report) Section {
	s := Section{Title: "Verdict"}
	switch r.ExitCode() {
	case ExitNotMade:
		s.Lines = []string{"NOT MADE: " + cmp.Or(r.Error, strings.Join(r.Failed, "; "),
			"nothing was measured")}
		return s
	case ExitFailed:
		s.Lines = []string{"FAILED: " + r.Failed[0]}
		for _, why := range r.Failed[1:] {
			s.Lines = append(s.Lines, "and: "+why)
		}
	case ExitPartial:
		s.Lines = []string{"PARTIAL: interrupted; what was measured passed its checks"}
	default:
		s.Lines = []string{"OK" + passed(r.Steps)}
	}
	if r.Partial && r.ExitCode() == ExitFailed {
		s.Lines = append(s.Lines, "The run was interrupted.")
	}
	if r.Limited != "" {
		s.Lines = append(s.Lines, "The generator was the limit ("+r.Limited+"): these figures are "+
			"no capacity of the relay.")
	}
	return s
}

// passed says what was checked. Of STUN requests it says how many had no answer, since some may.
func passed(steps []*loadgen.StepResult) string {
	if len(steps) == 0 {
		return ""
	}
	var checks []string
	if slices.ContainsFunc(steps, func(s *loadgen.StepResult) bool {
		return len(s.Groups) > 0 || s.STUN == nil
	}) {
		checks = append(checks, "every packet is accounted for")
	}
	if slices.ContainsFunc(steps, func(s *loadgen.StepResult) bool { return s.Asked > 0 }) {
		checks = append(checks, "every client answered")
	}
	for i, s := range steps {
		switch {
		case s.STUN == nil:
		case s.STUN.Lost > 0:
			checks = append(checks, inStep(i, len(steps))+unanswered(s.STUN))
		default:
			checks = append(checks, inStep(i, len(steps))+"every STUN request sent was answered")
		}
	}
	return ": " + strings.Join(checks, ", and ")
}

func sortedNotes(notes map[string]string) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		lines = append(lines, name+": "+notes[name])
	}
	return lines
}
