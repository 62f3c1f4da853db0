package plotting

const (
	// defaultWidthPoints and defaultHeightPoints fit two charts beside each other on a wide screen
	// and one on a printed page; a browser scales them.
	defaultWidthPoints  = 440
	defaultHeightPoints = 270
	// decadesLabelled is how many decades a logarithmic axis may span and still have labels at 2
	// and 5; with more they would touch each other.
	decadesLabelled = 2
	// labelRunesMax cuts names in a legend, which come from outside.
	labelRunesMax = 40
	// percentileMax is the last percentile that is drawn, as 1/(1-p): 99.9999 %.
	percentileMax = 1e6
	// axisMax bounds values drawn: a larger one would leave no digits for a tick's step.
	axisMax = 1e18
)
