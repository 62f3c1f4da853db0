package compare

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"derpd/bench"
	"derpd/loadgen/units"
)

// Markdown writes what changed as a summary that a CI can post: the verdict, the figures that got
// worse or better, and all others folded below.
func (r *Result) Markdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	worse, better := r.with(Worse), r.with(Better)
	same, other := r.with(Same), append(r.with(Shown), r.with(Unequal)...)
	fmt.Fprintf(b, "### bench: %s\n\n", r.Verdict())
	fmt.Fprintf(b, "%s → %s, on %s\n\n", build(r.Old), build(r.New), escape(r.New.Machine.Fingerprint))
	for _, why := range r.Failed {
		fmt.Fprintf(b, "- failed: %s\n", escape(why))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(b, "- %s\n", escape(note))
	}
	if len(r.Failed)+len(r.Notes) > 0 {
		fmt.Fprintln(b)
	}
	table(b, worse)
	table(b, better)
	for _, part := range []struct {
		title string
		list  []Change
	}{{"unchanged", same}, {"not judged", other}} {
		if len(part.list) > 0 {
			fmt.Fprintf(b, "<details><summary>%d figures %s</summary>\n\n", len(part.list), part.title)
			table(b, part.list)
			fmt.Fprint(b, "</details>\n\n")
		}
	}
	return b.Flush()
}

// Verdict is the whole in a line.
func (r *Result) Verdict() string {
	worse, better := len(r.with(Worse)), len(r.with(Better))
	text := fmt.Sprintf("%d figures unchanged", len(r.with(Same)))
	if better > 0 {
		text = fmt.Sprintf("%d better, %s", better, text)
	}
	if worse > 0 {
		text = fmt.Sprintf("%d worse, %s", worse, text)
	}
	if len(r.Failed) > 0 {
		text = fmt.Sprintf("%d failed, %s", len(r.Failed), text)
	}
	if r.Regressed() {
		text = "REGRESSION: " + text
	}
	return text
}

func build(r *bench.Report) string {
	return fmt.Sprintf("%s (%s)", cmp.Or(escape(r.Commit), "unknown commit"),
		r.Time.UTC().Format("2006-01-02 15:04"))
}

// table writes changes, the largest first.
func table(w *bufio.Writer, list []Change) {
	if len(list) == 0 {
		return
	}
	list = slices.Clone(list)
	size := func(c Change) float64 {
		if math.IsNaN(c.Ratio) || c.Ratio <= 0 {
			return math.Inf(1)
		}
		return math.Abs(math.Log(c.Ratio))
	}
	slices.SortStableFunc(list, func(a, b Change) int { return cmp.Compare(size(b), size(a)) })
	fmt.Fprintln(w, "| | scenario | load | peer | figure | old | new | change | to reference | p |")
	fmt.Fprintln(w, "| - | - | - | - | - | -: | -: | -: | -: | -: |")
	for _, c := range list {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.Verdict,
			escape(c.Scenario), escape(c.At), escape(c.Peer), c.Measure.Name, figure(c.Measure, c.Old),
			figure(c.Measure, c.New), percent(c.Ratio), percent(c.AgainstReference), c.confidence())
	}
	fmt.Fprintln(w)
}

// confidence is the p of a change, or why there is none.
func (c *Change) confidence() string {
	if c.Why != "" {
		return escape(c.Why)
	}
	return fmt.Sprintf("%.3f (%d+%d)", c.P, c.Old.N, c.New.N)
}

func figure(m *bench.Measure, s bench.Summary) string {
	if !s.Known() {
		return "–"
	}
	return fmt.Sprintf("%s ±%.0f%%", m.Format(s.Median), 100*s.Spread())
}

// percent writes a ratio as a change.
func percent(ratio float64) string {
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		return "–"
	}
	sign := "+"
	if ratio < 1 {
		sign = "-"
	}
	return sign + units.Digits(100*math.Abs(ratio-1), 2) + " %"
}

// escape keeps what comes from a report from being taken for Markdown or HTML.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "\n", " ").Replace(
		units.Printable(s))
}
