package report

const (
	// reportBytesMax bounds a file that is read: a run of a day with a sample a second is 20 MB.
	reportBytesMax = 256 << 20
	// textColumnsMax is the width of Text: it fits beside an editor and on paper.
	textColumnsMax = 100
	// nameColumnsMax cuts names in tables, so that a table of text fits textColumnsMax.
	nameColumnsMax = 20
	// factColumnsMax cuts the names of facts, of which the longest are lines of a configuration.
	factColumnsMax = 42
	// stepChartsMax is how many steps of a page have charts of their own; a plan may have dozens,
	// and the JSON has them all.
	stepChartsMax = 12
	// linesPerChartMax is how many lines of one chart have a colour of their own.
	linesPerChartMax = 6
	// churnBackMin is the share of the clients that are in at the end of a step in which some leave
	// and others take their places; those of a second may be on their way.
	churnBackMin = 0.9
	// stunLostMax is the share of STUN requests that may have no answer: UDP loses a few where
	// buffers are short, and a server that leaves more unanswered does not carry the rate.
	stunLostMax = 0.01
	// overlapMin is the share of the longest window in which the windows of machines that are merged
	// must overlap: what a machine did alone is no part of a rate of all.
	overlapMin = 0.9
	// mergedMax bounds the machines of one run.
	mergedMax = 1000
)
