package plan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Text prints the result for people. The error is the writer's.
func (r *Result) Text(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(&b, "plan  %s  %s\n", r.Began.UTC().Format(time.RFC3339), r.Machine.Fingerprint)
	fmt.Fprintf(&b, "goal: %d clients, %.0f packets/s, p99 within %v, all logged in %v after a cut\n",
		r.Goal.Clients, r.Goal.PacketsPerSecond, r.Goal.P99, r.Goal.LoginsWithin)
	fmt.Fprintf(&b, "workload %s: %d clients, in %v of %v", r.Workload.Name, r.Logins.Clients,
		r.Took.Round(time.Second), r.Budget)
	if r.Partial {
		b.WriteString("  (not complete)")
	}
	b.WriteString("\n\n")
	fmt.Fprint(t, "step\trate/s\tdelivered/s\tp50 µs\tp99 µs\tp99.9 µs\tµs/packet\t"+
		"generator idle\t\t\n")
	for i := range r.Steps {
		s := &r.Steps[i]
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%d\t%d\t%d\t%s\t%.0f %%\t%s\t\n", s.Purpose, s.Rate,
			s.Delivered, s.P50.Microseconds(), s.P99.Microseconds(), s.P999.Microseconds(),
			known(s.CPUMicros, "%.1f"), 100*s.Idle, s.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	r.textFindings(&b)
	r.textHosts(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func known(value float64, format string) string {
	if value == 0 {
		return "?"
	}
	return fmt.Sprintf(format, value)
}

func (row *Row) verdict() string {
	switch {
	case row.Lost != "":
		return "clients lost"
	case row.Limited != "":
		return "generator"
	case !row.Carried:
		return "behind"
	case !row.Within:
		return "late"
	}
	return "ok"
}

func (r *Result) textFindings(b *strings.Builder) {
	b.WriteByte('\n')
	for _, k := range []struct {
		name string
		knee Knee
	}{{"throughput", r.Throughput}, {"latency", r.Latency}} {
		fmt.Fprintf(b, "knee of %s: %s%.0f packets/s\n    %s\n", k.name, atLeast(k.knee.AtLeast),
			k.knee.Rate, k.knee.Why)
	}
	if r.Beyond != nil {
		fmt.Fprintf(b, "beyond it: %s, %.0f/s delivered of %.0f/s\n", r.Beyond.Kind,
			r.Beyond.Delivered, r.Beyond.Rate)
	}
	if r.CorePackets > 0 {
		fmt.Fprintf(b, "one processor, extrapolated: %.0f packets/s\n", r.CorePackets)
	}
	if m := r.Memory; m != nil {
		exact := ""
		if !m.KernelExact {
			exact = " (by all slabs of the machine)"
		}
		fmt.Fprintf(b, "memory a client: %.0f B in the relay, %.0f B in the kernel%s; "+
			"the relay itself %s\n", m.UserClient, m.KernelClient, exact, size(m.Base))
	}
	fmt.Fprintf(b, "logins: %s\n", r.Logins.Why)
	p := &r.Planned
	fmt.Fprintf(b, "planned load of a host: %s%.0f packets/s", atLeast(p.AtLeast), p.Rate)
	if p.P99 > 0 {
		fmt.Fprintf(b, ", p99 within %v", p.P99)
	} else {
		b.WriteString(", no p99 can be promised")
	}
	if p.Verified {
		fmt.Fprintf(b, ", verified for %v", p.VerifiedFor.Round(time.Second))
	} else {
		b.WriteString(", NOT verified")
	}
	fmt.Fprintf(b, "\n    %s; p99 seen %v in %d steps, spread %.0f %%\n", p.Why,
		p.Seen.Round(time.Microsecond), p.Repeats, 100*p.Spread)
}

func atLeast(is bool) string {
	if is {
		return "at least "
	}
	return ""
}

func (r *Result) textHosts(b *strings.Builder) {
	h := &r.Hosts
	if h.Count > 0 {
		fmt.Fprintf(b, "\nhosts like this one: %d, each for %d clients and %.0f packets/s; %s decide",
			h.Count, h.Clients, h.Packets, h.Binding)
		if h.Binding == Packets && !r.Planned.Verified {
			b.WriteString(", by a load that is NOT verified")
		}
		b.WriteByte('\n')
	}
	for _, n := range h.Needs {
		most := ""
		if n.AtMost {
			most = "at most "
		}
		fmt.Fprintf(b, "    by %s: %s%d (%s)\n", n.Constraint, most, n.Hosts, n.Rests)
	}
	fmt.Fprintf(b, "first to break: %s\n", r.Breaks)
	if len(r.Advice) > 0 {
		b.WriteString("to be raised:\n")
	}
	for _, a := range r.Advice {
		fmt.Fprintf(b, "    %s\n        %s\n", a.Line, a.Why)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
}
