package plotting

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// SVG draws the chart as an svg element without a prologue, to stand in a page. Text in it is
// escaped. The error says that there is nothing to draw: no series has a point that can be drawn.
func (c *Chart) SVG() (string, error) {
	p := plot.New()
	p.BackgroundColor = nil // the page's
	lines := c.drawable()
	if len(lines) == 0 {
		return "", fmt.Errorf("plotting: chart %q has no points to draw", c.Title)
	}
	c.setAxis(&p.X, &c.X, lines, c.MarksX, func(p Point) float64 { return p.X })
	c.setAxis(&p.Y, &c.Y, lines, c.MarksY, func(p Point) float64 { return p.Y })
	p.Y.Label.Padding = 4
	grid := plotter.NewGrid()
	grid.Vertical = draw.LineStyle{Color: colorGrid, Width: 0.6}
	grid.Horizontal = grid.Vertical
	p.Add(grid, marks{c})
	for i, s := range lines {
		p.Add(line{s, i})
	}
	canvas := vgsvg.New(vg.Length(cmp.Or(c.Width, defaultWidthPoints)),
		vg.Length(cmp.Or(c.Height, defaultHeightPoints)))
	area := draw.Crop(draw.New(canvas), 2, -6, 2, -4)
	p.Draw(draw.Crop(area, 0, 0, 0, -legend(area, lines)))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", fmt.Errorf("plotting: chart %q: %w", c.Title, err)
	}
	return embed(b.String(), c.Title), nil
}

// Empty tells whether there is nothing to draw, so that SVG would fail.
func (c *Chart) Empty() bool { return len(c.drawable()) == 0 }

// drawable copies the series without the points that the axes cannot show.
func (c *Chart) drawable() (kept []Series) {
	for _, s := range c.Series {
		var points []Point
		for _, p := range s.Points {
			if c.X.shows(p.X) && c.Y.shows(p.Y) {
				points = append(points, p)
			}
		}
		if len(points) > 0 {
			s.Points = points
			kept = append(kept, s)
		}
	}
	return kept
}

func (a *Axis) shows(v float64) bool {
	return math.Abs(v) <= axisMax && (a.Scale == Linear || v > 1/axisMax) // false for NaN
}

// setAxis rounds the range of the values and of the marks, and sets ticks and styles.
func (c *Chart) setAxis(to *plot.Axis, a *Axis, lines []Series, marks []Mark,
	value func(Point) float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, s := range lines {
		for _, p := range s.Points {
			lo, hi = min(lo, value(p)), max(hi, value(p))
		}
	}
	for _, m := range marks {
		if a.shows(m.At) {
			lo, hi = min(lo, m.At), max(hi, m.At)
		}
	}
	to.Min, to.Max = a.round(lo, hi)
	if a.Scale != Linear {
		to.Scale = plot.LogScale{}
	}
	to.Tick.Marker = plot.TickerFunc(a.ticks)
	to.Label.Text = cut(a.Label)
	to.Label.TextStyle.Color, to.Label.TextStyle.Font = colorInk, font.From(sans, textSize+1)
	to.Tick.Label.Color, to.Tick.Label.Font = colorInk, font.From(sans, textSize)
	to.Color, to.Tick.Color, to.Tick.Length = colorAxis, colorAxis, 4
	to.Padding = 2
}

// cut shortens what comes from outside to what has room.
func cut(s string) string {
	if r := []rune(s); len(r) > labelRunesMax {
		return string(r[:labelRunesMax-1]) + "…"
	}
	return s
}

var (
	// styleOf finds the style of an element. Text cannot hold one: quotes in it are escaped.
	styleOf = regexp.MustCompile(`style="[^"]*"`)
	prelude = regexp.MustCompile(`(?s)^.*?<svg width="[^"]*" height="[^"]*"`)
)

// embed makes the file that gonum wrote an element of a page: no prologue, a width that follows the
// page, a name for those who cannot see it, and the page's colours.
func embed(svg, title string) string {
	svg = prelude.ReplaceAllLiteralString(svg, `<svg class="plot" role="img" aria-label="`+
		html.EscapeString(title)+`"`)
	return strings.TrimSpace(styleOf.ReplaceAllStringFunc(svg, inPage.Replace))
}
