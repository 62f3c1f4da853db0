package netpoll_test

import (
	"net/netip"
	"testing"

	"derpd/netpoll"
	"derpd/netpoll/looptest"
)

// A loop on io_uring keeps the contract although queues overflow, buffers run out, a connection
// or two fill a table, and the kernel is one that has to be asked for each receive.
func TestScantURingKeepsTheContract(t *testing.T) {
	if err := netpoll.ProbeURing(); err != nil {
		t.Skip(err)
	}
	keepsTheContract(t, func(cfg netpoll.Config) (netpoll.Runner, error) {
		return netpoll.NewScant(5, cfg)
	})
}

// So do loops that gather.
func TestGatheringKeepsTheContract(t *testing.T) {
	for _, kind := range []netpoll.Engine{netpoll.EngineEpoll, netpoll.EngineURing} {
		t.Run(string(kind), func(t *testing.T) {
			if err := netpoll.ProbeURing(); err != nil && kind == netpoll.EngineURing {
				t.Skip(err)
			}
			keepsTheContract(t, func(cfg netpoll.Config) (netpoll.Runner, error) {
				return netpoll.NewGathering(kind, 5, cfg)
			})
		})
	}
}

func keepsTheContract(t *testing.T, newLoop func(netpoll.Config) (netpoll.Runner, error)) {
	looptest.TestContract(t, func(t *testing.T) looptest.Rig {
		listeners, err := netpoll.Listen(netip.MustParseAddrPort("127.0.0.1:0"), 1,
			netpoll.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		loop, err := newLoop(netpoll.Config{Listeners: listeners})
		if err != nil {
			t.Fatal(err)
		}
		return looptest.NewSockets(t, loop, listeners[0].Addr(), loop.Run)
	})
}
