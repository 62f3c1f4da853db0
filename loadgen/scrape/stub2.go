package scrape

import (
	"context"

	"derpd/loadgen"
)

type Metrics struct {
	Connections                  int
	PacketsReceived, PacketsSent uint64
	Dropped                      map[string]uint64
}

func Read(ctx context.Context, t loadgen.Target) (Metrics, error) {
	d, err := Drops(ctx, t)
	return Metrics{Dropped: d}, err
}
