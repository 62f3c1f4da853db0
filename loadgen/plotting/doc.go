// Package plotting draws charts as SVG that stands in a page: lines with markers over linear,
// logarithmic and percentile axes, with a legend above and marks such as a bound or a knee.
//
// It knows numbers and labels, and nothing of what was measured. A Chart is plain data of its
// caller; drawing neither keeps nor changes it, and any goroutine may draw.
//
// Colours are custom properties of CSS with a fallback (--plot-ink, --plot-grid, --plot-1 to
// --plot-6), so a page that sets them shows the same drawing in light and dark. Fonts are not
// embedded: text is laid out with the metrics of Liberation Sans, which Arial and Helvetica share.
package plotting
