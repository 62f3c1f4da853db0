package plotting

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	lineWidth    = vg.Length(1.6)
	markerRadius = vg.Length(2.6)
	textSize     = vg.Length(10)
)

// shapes are those of the markers, by series.
var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{},
	draw.CrossGlyph{}, draw.PlusGlyph{}, draw.RingGlyph{}}

// sans is what embed makes the page's own font of.
var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

func textStyle() text.Style {
	return text.Style{Color: colorInk, Font: font.From(sans, textSize),
		Handler: plot.DefaultTextHandler}
}

func (s *Series) style(i int) draw.LineStyle {
	style := draw.LineStyle{Color: seriesColor(i), Width: lineWidth}
	if s.Dashed {
		style.Dashes = []vg.Length{4, 3}
	}
	return style
}

func glyph(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: seriesColor(i), Radius: markerRadius,
		Shape: shapes[i%len(shapes)]}
}

// line draws one series, the i-th.
type line struct {
	Series
	i int
}

// Plot implements plot.Plotter.
func (l line) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	points := make([]vg.Point, len(l.Points))
	for i, point := range l.Points {
		points[i] = vg.Point{X: toX(point.X), Y: toY(point.Y)}
	}
	c.StrokeLines(l.style(l.i), c.ClipLinesXY(points)...)
	// A single point would not be seen without a marker.
	if l.Markers || len(points) == 1 {
		for _, point := range points {
			c.DrawGlyph(glyph(l.i), point)
		}
	}
}

// marks draws the chart's marks under its lines.
type marks struct{ *Chart }

// Plot implements plot.Plotter.
func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	style := draw.LineStyle{Color: colorMark, Width: 1, Dashes: []vg.Length{2, 2}}
	label := textStyle()
	label.Color = colorMark
	for _, mark := range m.MarksX {
		if !m.X.shows(mark.At) {
			continue
		}
		x := toX(mark.At)
		c.StrokeLine2(style, x, c.Min.Y, x, c.Max.Y)
		label.XAlign, label.YAlign = draw.XLeft, draw.YTop
		text := cut(mark.Label)
		if x+3+label.Width(text) > c.Max.X { // no room at its right
			label.XAlign = draw.XRight
			x -= 6
		}
		c.FillText(label, vg.Point{X: x + 3, Y: c.Max.Y - 2}, text)
	}
	for _, mark := range m.MarksY {
		if !m.Y.shows(mark.At) {
			continue
		}
		y := toY(mark.At)
		c.StrokeLine2(style, c.Min.X, y, c.Max.X, y)
		label.XAlign, label.YAlign = draw.XLeft, draw.YBottom
		c.FillText(label, vg.Point{X: c.Min.X + 3, Y: y + 2}, cut(mark.Label))
	}
}

// legend writes the names of the series above the chart, in as many rows as they need, and returns
// the height taken.
func legend(c draw.Canvas, lines []Series) vg.Length {
	const (
		sample = vg.Length(18)
		gap    = vg.Length(5)
		row    = textSize + 5
	)
	style := textStyle()
	style.YAlign = draw.YCenter
	x, y := c.Min.X, c.Max.Y-row/2
	for i := range lines {
		name := cut(lines[i].Name)
		width := sample + gap + style.Width(name) + 3*gap
		if x > c.Min.X && x+width > c.Max.X {
			x, y = c.Min.X, y-row
		}
		c.StrokeLine2(lines[i].style(i), x, y, x+sample, y)
		if lines[i].Markers {
			c.DrawGlyph(glyph(i), vg.Point{X: x + sample/2, Y: y})
		}
		c.FillText(style, vg.Point{X: x + sample + gap, Y: y}, name)
		x += width
	}
	return c.Max.Y - y + row/2 + gap
}
