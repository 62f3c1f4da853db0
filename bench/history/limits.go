package history

const (
	// lineBytesMax bounds a line: a full run on six peers has 500 figures of 60 bytes.
	lineBytesMax = 1 << 20
	// linesMax bounds a file that is read: a line a day for a century.
	linesMax = 40_000
	// seriesMax is how many lines of one chart have a colour of their own.
	seriesMax = 6
)
