package main

import (
	"testing"
	"time"

	"derpd/relay"
	"derpd/relay/queue"
)

func TestStatusLine(t *testing.T) {
	var a, b relay.Snapshot
	b.Connections, b.Clients = 12, 10
	if got, want := statusLine(&a, &b, time.Second), "connections 12 clients 10 | "+
		"in 0 packets/s 0.00 MB/s | out 0 packets/s 0.00 MB/s | drops: none"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	a.PacketsReceived = [2]uint64{queue.Data: 1000, queue.Disco: 10}
	b.PacketsReceived = [2]uint64{queue.Data: 2000, queue.Disco: 210}
	a.BytesReceived, b.BytesReceived = 1e6, 4e6
	b.PacketsSent, b.BytesSent = 500, 1_500_000
	a.Drops[relay.DropUnknownDest][queue.Data].Frames = 7 // of before
	b.Drops[relay.DropUnknownDest][queue.Data].Frames = 7
	b.Drops[relay.DropQueueHead] = [2]relay.KindCount{{Frames: 2}, {Frames: 3}}
	b.Drops[relay.DropWriteError][queue.Disco].Frames = 1
	if got, want := statusLine(&a, &b, 2*time.Second), "connections 12 clients 10 | "+
		"in 600 packets/s 1.50 MB/s | out 250 packets/s 0.75 MB/s | "+
		"drops: queue_head 5, write_error 1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
