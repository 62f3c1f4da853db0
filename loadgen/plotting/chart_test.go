package plotting

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// document is what a browser would see in an SVG element.
type document struct {
	texts   []string
	paths   int
	label   string
	strokes map[string]int
}

func parse(t *testing.T, svg string) (d document) {
	t.Helper()
	d.strokes = map[string]int{}
	stroke := regexp.MustCompile(`stroke:([^;]*)`)
	dec := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
			if token.Name.Local == "path" {
				d.paths++
			}
			for _, a := range token.Attr {
				if token.Name.Local == "svg" && a.Name.Local == "aria-label" {
					d.label = a.Value
				}
				if m := stroke.FindStringSubmatch(a.Value); m != nil {
					d.strokes[m[1]]++
				}
			}
		case xml.CharData:
			if inText {
				d.texts = append(d.texts, string(token))
			}
		case xml.EndElement:
			inText = false
		}
	}
}

func draw1(t *testing.T, c *Chart) document {
	t.Helper()
	svg, err := c.SVG()
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, svg)
}

func TestSeriesAndLabelsAreDrawn(t *testing.T) {
	d := draw1(t, &Chart{
		Title:  `latency "p99" <over> load`,
		X:      Axis{Label: "packets/s", Zero: true},
		Y:      Axis{Label: "latency", Scale: Log, Format: units.Nanos},
		MarksX: []Mark{{At: 80_000, Label: "knee"}},
		MarksY: []Mark{{At: 5e6, Label: "bound"}},
		Series: []Series{
			{Name: "p50", Points: []Point{{10_000, 1e5}, {90_000, 2e5}}},
			{Name: "p99 <&>", Points: []Point{{10_000, 3e5}, {90_000, 9e6}}, Markers: true},
		},
	})
	if d.label != `latency "p99" <over> load` {
		t.Errorf("label %q", d.label)
	}
	for _, want := range []string{"packets/s", "latency", "p50", "p99 <&>", "knee", "bound",
		"0", "20k", "80k", "100 µs", "1 ms", "10 ms"} {
		if !slices.Contains(d.texts, want) {
			t.Errorf("no text %q in %q", want, d.texts)
		}
	}
	// Each series has its line in the chart and one in the legend; the second has markers too.
	for stroke, want := range map[string]int{"var(--plot-1,#0072b2)": 2,
		"var(--plot-2,#d55e00)": 2 + 3, "var(--plot-mark,#b00)": 2} {
		if d.strokes[stroke] != want {
			t.Errorf("%d strokes of %s, want %d: %v", d.strokes[stroke], stroke, want, d.strokes)
		}
	}
}

func TestNothingFromOutsideLeavesItsPlace(t *testing.T) {
	hostile := `"><script>alert(1)</script>style="fill:#010101"`
	svg, err := (&Chart{Title: hostile, X: Axis{Label: hostile}, Y: Axis{Label: hostile},
		Series: []Series{{Name: hostile, Points: []Point{{1, 1}, {2, 2}}}},
		MarksX: []Mark{{At: 1, Label: hostile}}}).SVG()
	if err != nil {
		t.Fatal(err)
	}
	if d := parse(t, svg); d.label != hostile {
		t.Errorf("label %q", d.label)
	}
	if strings.Contains(svg, "<script") || strings.Contains(svg, "href=") {
		t.Errorf("markup from a label: %s", svg)
	}
	for _, url := range regexp.MustCompile(`https?://[^"]*`).FindAllString(svg, -1) {
		if !strings.HasPrefix(url, "http://www.w3.org/") { // the names of XML's own spaces
			t.Errorf("the drawing refers to %s", url)
		}
	}
}

func TestWhatCannotBeDrawnIsLeftOut(t *testing.T) {
	bad := []Point{{math.NaN(), 1}, {1, math.Inf(1)}, {1, 0}, {1, -3}, {1, 1e300}}
	c := &Chart{Title: "bad", Y: Axis{Scale: Log}, Series: []Series{{Points: bad}}}
	if _, err := c.SVG(); err == nil || !strings.Contains(err.Error(), `"bad" has no points`) {
		t.Errorf("error %v", err)
	}
	c.Series[0].Points = append(bad, Point{1, 5})
	if d := draw1(t, c); !slices.Contains(d.texts, "5") {
		t.Errorf("the one good point is not on an axis: %q", d.texts)
	}
}

// Whatever the values, an axis has a rounded range around them and two or more labels.
func FuzzAxis(f *testing.F) {
	f.Add(0.0, 0.0, false)
	f.Add(1.0, 1.0, true)
	f.Add(-3.0, 1e18, false)
	f.Add(1e-17, 1e18, true)
	f.Add(99_999.0, 100_001.0, true)
	f.Add(1e17, 1e17+16, false)
	f.Fuzz(func(t *testing.T, lo, hi float64, log bool) {
		a := Axis{}
		if log {
			a.Scale = Log
		}
		if !a.shows(lo) || !a.shows(hi) {
			return
		}
		if lo > hi {
			lo, hi = hi, lo
		}
		from, to := a.round(lo, hi)
		slack := 1e-6 * max(math.Abs(from), math.Abs(to))
		if !(from < to) || from > lo+slack || to < hi-slack {
			t.Fatalf("%g to %g became %g to %g", lo, hi, from, to)
		}
		labels := 0
		ticks := a.ticks(from, to)
		for _, tick := range ticks {
			if tick.Label != "" {
				labels++
			}
		}
		if labels < 2 || len(ticks) > 400 {
			t.Fatalf("%g to %g: %d labels of %d ticks", from, to, labels, len(ticks))
		}
	})
}

func TestTickLabels(t *testing.T) {
	for _, c := range []struct {
		axis   Axis
		lo, hi float64
		want   string
	}{
		{Axis{Zero: true}, 3_000, 95_000, "0 20k 40k 60k 80k 100k"},
		{Axis{Zero: true}, 1, 3.2, "0 0.5 1 1.5 2 2.5 3 3.5"},
		{Axis{}, 0, 0, "0 0.2 0.4 0.6 0.8 1"},
		{Axis{Scale: Log, Format: units.Nanos}, 9e4, 4e5, "50 µs 100 µs 200 µs 500 µs"},
		{Axis{Scale: Log}, 3, 40_000, "10 100 1k 10k"},
		{Axis{Scale: Tail}, 1, 5_000, "0 % 50 % 90 % 99 % 99.9 %"},
	} {
		from, to := c.axis.round(c.lo, c.hi)
		var labels []string
		for _, tick := range c.axis.ticks(from, to) {
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%g to %g: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	if Percentiles(nil) != nil || Percentiles(loadgen.NewHist()) != nil {
		t.Error("points of nothing")
	}
	h := loadgen.NewHist()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	points := Percentiles(h)
	first, last := points[0], points[len(points)-1]
	if first.X != 1 || first.Y != 1e6 {
		t.Errorf("begins at %v, want the shortest time at 1", first)
	}
	if last.X != 1000 || math.Abs(last.Y-999e6) > 2e6 {
		t.Errorf("ends at %v, want p99.9 of a thousand times at 1000", last)
	}
	for i, p := range points {
		if want := 1e9 * (1 - 1/p.X); math.Abs(p.Y-want) > 2e6 {
			t.Errorf("point %d: %v, want about %.0f", i, p, want)
		}
	}
}
