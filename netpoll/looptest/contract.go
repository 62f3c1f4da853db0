package looptest

import (
	"testing"

	"derpd/netpoll"
)

// scene is one part of the contract.
type scene struct {
	name string
	play func(*stage)
}

var scenes = []scene{
	{"Received keeps the order and tells the end once", sceneReceive},
	{"SetReceiveMax bounds a Received", sceneReceiveMax},
	{"PauseReceive holds the peer back", scenePause},
	{"Send that blocks ends in one Sent", sceneSendBlocked},
	{"Send while one is in flight panics", sceneSendTwice},
	{"Send without progress ends by the write timeout", sceneWriteTimeout},
	{"Close gives back what is in flight", sceneClose},
	{"what Flush causes belongs to the next turn", sceneCloseInFlush},
	{"Reset reaches the far end", sceneReset},
	{"a far reset is told with its cause", sceneFarReset},
	{"many connections at once", sceneMany},
	{"handles of ended connections do nothing", sceneStale},
	{"timeouts are never early", sceneTimeout},
	{"WakeAt calls Woken at its time", sceneWakeAt},
	{"a busy loop keeps the contract", sceneBusy},
	{"Connect", sceneConnect},
	{"Connect refused", sceneConnectRefused},
	{"Connect closed before Connected", sceneConnectClosed},
	{"posted functions run in order, ahead of Woken", scenePost},
	{"Post and Wake from other goroutines", sceneForeign},
	{"Stop ends everything", sceneStop},
}

// TestContract plays every scene on a fresh rig.
func TestContract(t *testing.T, newRig func(t *testing.T) Rig) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			s := &stage{T: t, rig: newRig(t)}
			s.rec = &recorder{conns: make(map[netpoll.Handle]*seen)}
			s.loop = NewChecker(s.rig.Loop(), t.Errorf)
			s.loop.Attach(s.rec)
			s.rig.Start(s.loop)
			t.Cleanup(func() {
				s.rig.Loop().Stop()
				if !s.rig.Ended() {
					t.Fatal("the loop does not end after Stop")
				}
				s.loop.Finish()
				if s.rig.Loop().Post(func() {}) {
					t.Error("Post succeeds after the end of the loop")
				}
				if s.rig.Loop().Leave(func() {}) {
					t.Error("Leave succeeds after the end of the loop")
				}
			})
			sc.play(s)
		})
	}
}
