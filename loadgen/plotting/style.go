package plotting

import (
	"fmt"
	"image/color"
	"strings"
)

// Colours stand for custom properties of the page: each is one that nothing else uses, and is
// replaced in the finished drawing.
var (
	colorInk  = color.RGBA{1, 1, 1, 255}
	colorAxis = color.RGBA{1, 1, 2, 255}
	colorGrid = color.RGBA{1, 1, 3, 255}
	colorMark = color.RGBA{1, 1, 4, 255}
)

// seriesColors are Okabe and Ito's, which people who see colours differently tell apart, and which
// stand out from white as well as from black.
var seriesColors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// seriesColor stands for the colour of the i-th series.
func seriesColor(i int) color.Color {
	return color.RGBA{1, 2, uint8(1 + i%len(seriesColors)), 255}
}

// inPage replaces colours and the font in the style of an element.
var inPage = strings.NewReplacer(replacements()...)

func replacements() []string {
	hex := func(c color.Color) string {
		r, g, b, _ := c.RGBA()
		return fmt.Sprintf("#%02X%02X%02X", r>>8, g>>8, b>>8)
	}
	list := []string{
		"Liberation Sans", "Liberation Sans,Arial,Helvetica,sans-serif",
		"font-variant:none;", "",
		hex(colorInk), "var(--plot-ink,#222)",
		hex(colorAxis), "var(--plot-axis,#888)",
		hex(colorGrid), "var(--plot-grid,#ddd)",
		hex(colorMark), "var(--plot-mark,#b00)",
	}
	for i, fallback := range seriesColors {
		list = append(list, hex(seriesColor(i)), fmt.Sprintf("var(--plot-%d,%s)", i+1, fallback))
	}
	return list
}
