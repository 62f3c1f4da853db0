package bench

const (
	// reportBytesMax bounds a report that is read: a full run on six peers is below 1 MB.
	reportBytesMax = 64 << 20
	// confidence of the intervals beside medians: what the range of five rounds has (1 - 2/2⁵ is
	// 93.75 %). Six rounds would give 95 % and take a fifth longer.
	confidence = 0.93
	// digestBytes of a binary's SHA-256 tell it apart from any other that will be met.
	digestBytes = 8
	// nameBytesMax bounds the names of peers and loads, which stand in tables.
	nameBytesMax = 60
)
