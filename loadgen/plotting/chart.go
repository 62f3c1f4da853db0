package plotting

import (
	"derpd/loadgen"
)

// Scale is how an axis maps values to places.
type Scale int

// The scales.
const (
	Linear Scale = iota
	// Log is logarithmic; values that are not above 0 are left out.
	Log
	// Tail is for percentiles. Its values are 1/(1-p), as Percentiles gives them, so that 90 %,
	// 99 % and 99.9 % are equally far from each other; labels are percentiles.
	Tail
)

// Axis is one side of a chart.
type Axis struct {
	Label  string
	Scale  Scale
	Zero   bool                   // a linear axis begins at 0 whatever the values
	Format func(v float64) string // of the tick labels, as in package units; nil: units.SI
}

// Point is a value at a place, in the units of the axes.
type Point struct{ X, Y float64 }

// Series is one line.
type Series struct {
	Name    string
	Points  []Point // in the order in which they are joined; NaN and infinities are left out
	Markers bool    // at each point, of another shape for each series
	Dashed  bool
}

// Mark is a thin line across the chart with a label, such as a bound or a knee.
type Mark struct {
	At    float64
	Label string
}

// Chart is a set of lines over common axes.
type Chart struct {
	Title  string // said to those who cannot see the chart; a page writes it above
	X, Y   Axis
	Series []Series
	MarksX []Mark // vertical lines, at values of X
	MarksY []Mark // horizontal lines, at values of Y
	// Width and Height are in points; 0: 440 and 270.
	Width, Height float64
}

// Percentiles turns a histogram of times into points for a Tail axis: X is 1/(1-p), Y the time in
// nanoseconds that a share p of the recorded ones does not exceed. It ends where the rank of a
// percentile is that of the longest time. None for an empty or nil histogram.
func Percentiles(h *loadgen.Hist) []Point {
	n := float64(h.Count())
	if n == 0 {
		return nil
	}
	var points []Point
	last := min(n, percentileMax)
	const perDecade = 20
	for i := 0; ; i++ {
		x := pow10(float64(i) / perDecade)
		if x >= last {
			return append(points, Point{last, float64(h.At(100 * (1 - 1/last)))})
		}
		points = append(points, Point{x, float64(h.At(100 * (1 - 1/x)))})
	}
}
