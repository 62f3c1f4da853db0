package report

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// overview has a line for each of several steps.
func overview(r *Report) Section {
	t := Table{Head: []string{"step", "due/s", "delivered/s", "p50", "p99", "p99.9", "relay",
		"loadgen", "idle", "dropped", "lost"}}
	for i, s := range r.Steps {
		all := whole(s)
		dropped := 0.0
		if s.Books.Sent > 0 {
			dropped = float64(s.Books.Drops()) / float64(s.Books.Sent)
		}
		n := float64(all.Delivered)
		t.Rows = append(t.Rows, []string{fmt.Sprint(i + 1), perSecond(all.Due, s.Window),
			perSecond(all.Delivered, s.Window), latency(all.Latency, 50), latency(all.Latency, 99),
			latency(all.Latency, 99.9), each(relayCPU(s).Sum(), n), each(s.Slack.CPU.Sum(), n),
			units.Percent(s.Slack.Idle), units.Percent(dropped),
			units.Count(s.Books.Unexplained())})
	}
	return Section{Title: "Steps", Tables: []Table{t}, Charts: loadCharts(r.Steps),
		Notes: []string{"relay and loadgen: CPU time for each packet delivered. idle: the " +
			"generator's loops. lost: packets that nobody accounts for."}}
}

// stepSection tells all of one step.
func stepSection(r *Report, i int) Section {
	s := r.Steps[i]
	title := "Traffic: "
	if len(r.Steps) > 1 {
		title = fmt.Sprintf("Step %d of %d: ", i+1, len(r.Steps))
	}
	title += fmt.Sprintf("%s for %s", rateName(s.Step.Rate), units.Time(s.Window))
	section := Section{Title: title}
	if len(s.Groups) > 0 {
		section.Tables = append(section.Tables, groupTable(s))
	}
	if s.STUN != nil {
		section.Tables = append(section.Tables, stunTable(s))
	}
	section.Tables = append(section.Tables, cpuTable(s), booksTable(&s.Books))
	section.Notes = stepNotes(s)
	section.Items = append(s.Failures.Lines(), sortedNotes(s.Notes)...)
	if i < stepChartsMax {
		section.Charts = stepCharts(s)
	}
	return section
}

// total adds up the groups of a step.
func total(s *loadgen.StepResult) (sum loadgen.GroupResult) {
	sum.Name = "all"
	sum.Latency = loadgen.NewHist()
	for i := range s.Groups {
		g := &s.Groups[i]
		sum.Due += g.Due
		sum.Sent += g.Sent
		sum.Delivered += g.Delivered
		sum.SentBytes += g.SentBytes
		sum.Bytes += g.Bytes
		sum.Latency.Merge(g.Latency)
	}
	return sum
}

func groupTable(s *loadgen.StepResult) Table {
	t := Table{Head: []string{"group", "due/s", "sent/s", "delivered/s", "bytes/s", "p50", "p99",
		"p99.9", "max"}}
	groups := slices.Clone(s.Groups)
	if len(groups) > 1 {
		groups = append(groups, total(s))
	}
	for i := range groups {
		g := &groups[i]
		bytes := none
		if s.Window > 0 {
			bytes = units.Bytes(float64(g.Bytes) / s.Window.Seconds())
		}
		t.Rows = append(t.Rows, []string{g.Name, perSecond(g.Due, s.Window),
			perSecond(g.Sent, s.Window), perSecond(g.Delivered, s.Window), bytes,
			latency(g.Latency, 50), latency(g.Latency, 99), latency(g.Latency, 99.9),
			longest(g.Latency)})
	}
	return t
}

func stunTable(s *loadgen.StepResult) Table {
	u := s.STUN
	return Table{
		Head: []string{"STUN", "due/s", "asked/s", "answered/s", "lost", "wrong", "p50", "p99",
			"p99.9", "max"},
		Rows: [][]string{{"binding", perSecond(u.Due, s.Window), perSecond(u.Sent, s.Window),
			perSecond(u.Answered, s.Window), units.Count(u.Lost), units.Count(u.Wrong),
			latency(u.Latency, 50), latency(u.Latency, 99), latency(u.Latency, 99.9),
			longest(u.Latency)}},
	}
}

func perSecond(n uint64, window time.Duration) string {
	if window <= 0 {
		return none
	}
	return units.Whole(float64(n) / window.Seconds())
}

// whole is all traffic of a step: its groups, or if there are none the STUN requests and answers.
func whole(s *loadgen.StepResult) loadgen.GroupResult {
	if len(s.Groups) == 0 && s.STUN != nil {
		return loadgen.GroupResult{Name: "STUN", Due: s.STUN.Due, Sent: s.STUN.Sent,
			Delivered: s.STUN.Answered, Latency: s.STUN.Latency}
	}
	return total(s)
}

func relayCPU(s *loadgen.StepResult) (sum loadgen.CPU) {
	for _, r := range s.Relays {
		sum.User += r.CPU.User
		sum.System += r.CPU.System
	}
	return sum
}

// each is processor time a packet, in one unit so that figures compare at a glance; none if there
// is no process or no packet to tell it of.
func each(t time.Duration, packets float64) string {
	if t == 0 || packets == 0 {
		return none
	}
	return fmt.Sprintf("%.2f µs", float64(t)/packets/1e3)
}

// cpuTable puts the relay's processor time beside the generator's.
func cpuTable(s *loadgen.StepResult) Table {
	n := float64(whole(s).Delivered)
	relay, ours := relayCPU(s), s.Slack.CPU
	row := func(name string, part func(loadgen.CPU) time.Duration) []string {
		return []string{name, each(part(relay), n), each(part(ours), n),
			busy(part(relay), s.Window), busy(part(ours), s.Window)}
	}
	return Table{
		Head: []string{"CPU", "relay/packet", "loadgen/packet", "relay CPUs", "loadgen CPUs"},
		Rows: [][]string{
			row("user", func(c loadgen.CPU) time.Duration { return c.User }),
			row("kernel", func(c loadgen.CPU) time.Duration { return c.System }),
			row("both", loadgen.CPU.Sum),
		},
	}
}

// busy is how many processors were at work on average.
func busy(t, window time.Duration) string {
	if t == 0 || window <= 0 {
		return none
	}
	return fmt.Sprintf("%.2f", t.Seconds()/window.Seconds())
}

// booksTable is a balance that adds up from line to line.
func booksTable(b *loadgen.Books) Table {
	t := Table{Head: []string{"books of the whole step", "packets"}}
	line := func(name, n string) { t.Rows = append(t.Rows, []string{name, n}) }
	line("  due", units.Count(b.Due))
	line("− held back by TCP, never sent", units.Count(b.NotAccepted))
	if missing := unbalanced(b); missing != 0 {
		line("− in nobody's books", units.Count(missing))
	}
	line("= sent", units.Count(b.Sent))
	line("− delivered", units.Count(b.Delivered))
	for _, reason := range slices.Sorted(maps.Keys(b.Dropped)) {
		line("− dropped by the relay: "+reason, units.Count(b.Dropped[reason]))
	}
	if !b.DroppedKnown {
		line("− dropped by the relay", "not known")
	} else if len(b.Dropped) == 0 {
		line("− dropped by the relay", "0")
	}
	line("− in flight when the drain ended", units.Count(b.InFlight))
	line("= unexplained", units.Count(b.Unexplained()))
	return t
}

func stepNotes(s *loadgen.StepResult) (notes []string) {
	limit := "it was not the limit"
	if s.Slack.Limited != "" {
		limit = "it WAS the limit: " + s.Slack.Limited
	}
	slack := fmt.Sprintf("Slack: the generator's loops were idle %s of the time; %s.",
		units.Percent(s.Slack.Idle), limit)
	if s.Slack.BusyNanosPerPacket > 0 {
		slack += fmt.Sprintf(" They worked %s a packet delivered.",
			units.Nanos(s.Slack.BusyNanosPerPacket))
	}
	if s.Slack.Lag.Count() > 0 {
		slack += fmt.Sprintf(" It sent late by %s (p50), %s (p99), %s (max).",
			latency(s.Slack.Lag, 50), latency(s.Slack.Lag, 99), longest(s.Slack.Lag))
	}
	clients := fmt.Sprintf("Clients at the end: %s logged in", units.Count(s.Clients))
	if s.Asked > 0 {
		clients += fmt.Sprintf("; %s of %s answered", units.Count(s.Answered), units.Count(s.Asked))
	}
	notes = append(notes, slack, clients+".")
	if s.Logins > 0 {
		notes = append(notes, fmt.Sprintf("Logins during the step: %s.", units.Count(s.Logins)))
	}
	if s.Readmit > 0 {
		notes = append(notes, fmt.Sprintf("After the cut all were in again in %s.",
			units.Time(s.Readmit)))
	}
	if s.Wrong.Any() {
		notes = append(notes, "Wrong packets: "+wrongs(s.Wrong)+".")
	}
	if rss := residentBytes(s.Relays); rss > 0 {
		notes = append(notes, fmt.Sprintf("Relay memory at the end: %s.", units.Bytes(float64(rss))))
	}
	if s.Partial {
		notes = append(notes, "Interrupted: figures are of what was done.")
	}
	return notes
}
