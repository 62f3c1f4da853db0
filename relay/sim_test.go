package relay

import (
	"flag"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "play only this seed of the simulation")
	simSeeds = flag.Uint64("sim.seeds", simSeedsMany, "how many seeds the simulation plays")
)

const (
	simSeedsFew  = 200  // for runs where a seed costs ten times as much
	simSeedsMany = 1000 // with so many, everything that can happen does
)

// TestSimulation plays the whole relay on fake loops, from many seeds: see simWorld. No frame
// may be lost without a counted drop, reordered within a pair and class, or delivered to a
// wrong key; and what happened in all seeds together must be worth the name.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		simReport(t, *simSeed, simRun(*simSeed).faults)
		return
	}
	seeds := *simSeeds
	if raceEnabled || testing.Short() {
		seeds = min(seeds, simSeedsFew)
	}
	found := simSearch(seeds)
	simReport(t, found.seed, found.faults)
	n := &found.totals
	t.Logf("%d seeds: %d packets, %d sent, %d dropped, %d connections, %d logins, %d blocked sends",
		seeds, n.PacketsReceived[0]+n.PacketsReceived[1], n.PacketsSent, n.Dropped(),
		n.Accepts, n.Logins, found.net.SendBlocked)
	if seeds >= simSeedsMany {
		found.checkReach(t)
	}
}

// simFound is what came of many seeds.
type simFound struct {
	seed uint64 // the lowest that failed of those that were begun; 0: none
	simResult
}

// simSearch plays the seeds 1 to n on all cores, until one fails.
func simSearch(n uint64) (f simFound) {
	var next atomic.Uint64
	var failed atomic.Bool
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= n && !failed.Load(); seed = next.Add(1) {
				r := simRun(seed)
				mu.Lock()
				f.totals.add(&r.totals.Counters)
				f.net.Sends += r.net.Sends
				f.net.SendBlocked += r.net.SendBlocked
				f.net.AcceptErrors += r.net.AcceptErrors
				f.net.Wakeups += r.net.Wakeups
				if len(r.faults) > 0 && (f.seed == 0 || seed < f.seed) {
					f.seed, f.faults = seed, r.faults
					failed.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return f
}

func simReport(t *testing.T, seed uint64, faults []string) {
	t.Helper()
	if len(faults) > 0 {
		t.Fatalf("seed %d (%+v):\n\t%s\nagain: go test ./relay -run TestSimulation -sim.seed=%d",
			seed, simRulesOf(seed), strings.Join(faults, "\n\t"), seed)
	}
}

// checkReach: a simulation in which something never happens proves nothing about it.
func (f *simFound) checkReach(t *testing.T) {
	n := &f.totals
	for what, count := range map[string]uint64{
		"drop at the inbox":              n.Drops[DropQueueTail][1].Frames,
		"drop for age or room":           n.Drops[DropQueueHead][0].Frames,
		"drop for age or room, disco":    n.Drops[DropQueueHead][1].Frames,
		"drop with the connection":       n.Drops[DropGoneDisconnected][0].Frames,
		"drop in a broken send":          n.Drops[DropWriteError][0].Frames,
		"drop for want of a destination": n.Drops[DropUnknownDest][0].Frames,
		"duplicate":                      n.DupConnections,
		"frame across loops":             n.CrossLoop,
		"unknown frame":                  n.UnknownFrames,
		"keepalive":                      n.KeepAlives,
		"pong":                           n.SentPong,
		"PeerGone(Disconnected)":         n.GoneDisconnected,
		"PeerGone(NotHere)":              n.GoneNotHere,
		"handshake":                      n.Handshakes,
		"failed handshake":               n.HandshakesFailed,
		"blocked send":                   f.net.SendBlocked,
		"failed accept":                  f.net.AcceptErrors,
		"wake-up":                        f.net.Wakeups,
	} {
		if count == 0 {
			t.Errorf("no %s in any seed", what)
		} else {
			t.Logf("%8d %s", count, what)
		}
	}
	never := map[Reason]string{
		EndNone: "no reason", EndPeerAlert: "clients send no alerts",
		EndHTTPCap: "no net/http here", EndHTTPDone: "no net/http here",
		EndHandshakeBytes: "clients are brief", EndPreLoginBytes: "clients are brief",
		EndNotAdmitted: "everyone is admitted", EndAdmissionBusy: "everyone is admitted",
		EndAcceptLimit: "accepts are not limited", EndWebSocket: "no WebSocket here",
		EndClosePeer: "one node", EndMesh: "one node", EndMeshSelf: "one node",
		EndMeshBehind:     "one node",
		EndPreLoginBudget: "clients are brief", EndKernel: "the fake has no such error",
	}
	for why := range reasonCount {
		switch reason, excused := never[why]; {
		case excused && n.Ends[why] > 0:
			t.Errorf("%d connections ended for %v, though %s", n.Ends[why], why, reason)
		case !excused && n.Ends[why] == 0:
			t.Errorf("no connection ended for %v in any seed", why)
		default:
			t.Logf("%8d ended: %v", n.Ends[why], why)
		}
	}
}

// TestSimulationRepeats plays seeds twice: a seed that fails must fail again.
func TestSimulationRepeats(t *testing.T) {
	traces := make(map[uint64]uint64)
	for seed := uint64(1); seed <= 12; seed++ {
		var trace [2]uint64
		for i := range trace {
			cryptotest.SetGlobalRandom(t, seed) // nonces of logins are part of the trace
			trace[i] = simRun(seed).trace
		}
		if trace[0] != trace[1] {
			t.Errorf("seed %d: traces %#x and %#x", seed, trace[0], trace[1])
		}
		if other, ok := traces[trace[0]]; ok {
			t.Errorf("seeds %d and %d have one trace", seed, other)
		}
		traces[trace[0]] = seed
	}
}
