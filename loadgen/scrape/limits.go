package scrape

import "time"

const (
	// scrapeMax is how long a reading may take, from connect to the last byte. A page takes a few
	// milliseconds; one that takes longer would come too late to say anything of a window's end.
	scrapeMax = 2 * time.Second
	// pageBytesMax bounds a page. derper's has 17 KB, derpd's some 2 KB more for each loop.
	pageBytesMax = 4 << 20
	// headerBytesMax bounds the header of an answer, which has some 200 bytes.
	headerBytesMax = 16 << 10
	// countMax is the largest count that a float64, the type of all Prometheus values, tells from
	// its neighbours.
	countMax = 1 << 53
)
