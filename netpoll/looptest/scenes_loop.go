package looptest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"derpd/netpoll"
)

func sceneTimeout(s *stage) {
	once, _ := s.open()
	again, _ := s.open()
	never, _ := s.open()
	s.do(func() {
		s.loop.SetTimeout(once, 120*time.Millisecond)
		s.loop.SetTimeout(again, time.Millisecond)
		s.loop.SetTimeout(again, 150*time.Millisecond) // replaces
		s.loop.SetTimeout(never, 100*time.Millisecond)
		s.loop.SetTimeout(never, 0)
	})
	// That none is early is the Checker's to see.
	s.await("both timeouts", func() bool {
		return s.rec.at(once).timeouts == 1 && s.rec.at(again).timeouts == 1
	})
	s.do(func() { s.loop.SetTimeout(again, 60*time.Millisecond) })
	s.await("the next timeout", func() bool { return s.rec.at(again).timeouts == 2 })
	s.do(func() {
		if s.rec.at(once).timeouts != 1 || s.rec.at(never).timeouts != 0 {
			s.Errorf("timeouts: %d of one, %d of a stopped one",
				s.rec.at(once).timeouts, s.rec.at(never).timeouts)
		}
	})
}

func sceneWakeAt(s *stage) {
	const after, spare = 30 * time.Millisecond, 200 * time.Millisecond
	var set, at int64
	s.do(func() {
		s.rec.now = s.loop.Now
		set = s.loop.Now()
		at = set + int64(after)
		s.loop.WakeAt(set + int64(time.Hour))
		s.loop.WakeAt(at) // replaces
	})
	for until := s.rig.Clock() + patience; s.rec.wokenLast.Load() < at; s.rig.Rest() {
		if s.rig.Clock() > until { // without a Post, which would wake the loop too
			s.Fatalf("not woken in %v", patience)
		}
	}
	s.do(func() {
		times, end := s.rec.wokenAt, s.loop.Now()
		if len(times) > 0 && times[0] == set {
			times = times[1:] // of the Post above
		}
		if len(times) == 0 || times[0] < at || times[0] >= end {
			s.Errorf("Woken at %v, want one from %d and before %d", times, at, end)
		}
		s.loop.WakeAt(s.loop.Now() + int64(after))
		s.loop.WakeAt(0)
		s.rec.wokenAt = nil
		set = s.loop.Now()
	})
	s.pass(after + spare)
	s.do(func() {
		for _, t := range s.rec.wokenAt {
			if t != set && t != s.loop.Now() { // of the Posts before and now
				s.Errorf("Woken %v after WakeAt(0)", time.Duration(t-set))
			}
		}
	})
}

func sceneBusy(s *stage) {
	s.do(func() { s.loop.SetBusy(true) })
	h, far := s.open()
	far.Write(pattern(1, 1000))
	s.await("bytes", func() bool { return len(s.rec.at(h).data) == 1000 })
	s.do(func() { s.loop.Send(h, pattern(2, 1000)) })
	s.expect(far, pattern(2, 1000))
	s.do(func() { s.loop.SetBusy(false) })
	s.do(func() { s.loop.Close(h) })
	s.expectEnd(far)
}

func (s *stage) connect(to netip.AddrPort) netpoll.Handle {
	s.Helper()
	var h netpoll.Handle
	s.do(func() {
		var err error
		if h, err = s.loop.Connect(netip.AddrPort{}, to); err != nil {
			s.Errorf("Connect: %v", err)
		}
	})
	return h
}

func sceneConnect(s *stage) {
	address, next := s.rig.Serve()
	h := s.connect(address)
	s.await("Connected", func() bool { return s.rec.at(h).connected })
	var far Far
	for until := s.rig.Clock() + patience; far == nil && s.rig.Clock() < until; s.rig.Rest() {
		far = next()
	}
	if far == nil {
		s.Fatal("nothing arrived at the far end")
	}
	question, answer := pattern(1, 100), pattern(2, 100_000)
	s.do(func() {
		if err := s.rec.at(h).connErr; err != nil {
			s.Errorf("Connected with %v", err)
		}
		s.loop.Send(h, question)
		if local, err := s.loop.LocalAddr(h); err != nil || !local.IsValid() {
			s.Errorf("LocalAddr: %v, %v", local, err)
		}
	})
	s.expect(far, question)
	far.Write(answer)
	far.CloseWrite()
	s.await("the answer", func() bool {
		return string(s.rec.at(h).data) == string(answer) && s.rec.at(h).fin == 1
	})
	s.do(func() { s.loop.Close(h) })
	s.expectEnd(far)
}

func sceneConnectRefused(s *stage) {
	h := s.connect(s.rig.Refuse())
	s.await("Connected", func() bool { return s.rec.at(h).connected })
	s.do(func() {
		if s.rec.at(h).connErr == nil {
			s.Error("Connected without error, though nobody listens")
		}
		s.loop.Close(h)
	})
	s.pass(netpoll.TimerTick)
	s.do(func() {
		if s.rec.at(h).closed {
			s.Error("Closed after a failed Connected")
		}
	})
}

func sceneConnectClosed(s *stage) {
	address, _ := s.rig.Serve()
	var h netpoll.Handle
	s.do(func() {
		var err error
		if h, err = s.loop.Connect(netip.AddrPort{}, address); err != nil {
			s.Errorf("Connect: %v", err)
		}
		s.loop.Close(h)
	})
	s.await("Connected", func() bool { return s.rec.at(h).connected })
	s.do(func() {
		if c := s.rec.at(h); !errors.Is(c.connErr, netpoll.ErrClosed) || c.closed {
			s.Errorf("Connected with %v, Closed %t", c.connErr, c.closed)
		}
	})
}

func scenePost(s *stage) {
	before := uint64(0)
	s.do(func() {
		s.rec.log, before = nil, s.loop.Stats().Posts
		for i := range 5 {
			post := s.loop.Post
			if i%2 == 0 {
				post = s.loop.Leave
			}
			post(func() { s.rec.log = append(s.rec.log, fmt.Sprint(i)) })
		}
		s.loop.Wake()
	})
	s.await("posted functions and Woken", func() bool { return len(s.rec.log) >= 6 })
	s.do(func() {
		// The Woken of the turn that posted them comes first.
		posts := slices.DeleteFunc(slices.Clone(s.rec.log),
			func(e string) bool { return e == "woken" })
		if !slices.Equal(posts, []string{"0", "1", "2", "3", "4"}) {
			s.Errorf("posted functions ran as %v", s.rec.log)
		}
		last := slices.Index(s.rec.log, "4")
		if last < 0 || last+1 >= len(s.rec.log) || s.rec.log[last+1] != "woken" {
			s.Errorf("no Woken after the posted functions: %v", s.rec.log)
		}
		// One that runs is counted when it has run, or with the others of its turn.
		if n := s.loop.Stats().Posts - before; n < 5 || n > 7 {
			s.Errorf("%d posted functions counted of five and those that asked", n)
		}
	})
}

func sceneForeign(s *stage) {
	const goroutines, posts = 4, 200
	var last [goroutines]int // the loop's
	var wrong, total int     // the loop's
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for i := range posts {
				s.loop.Wake()
				post := s.loop.Post
				if i%3 == 0 && i < posts-1 {
					post = s.loop.Leave
				}
				post(func() {
					if last[g] != i {
						wrong++
					}
					last[g] = i + 1
					total++
				})
			}
		})
	}
	group.Wait()
	s.await("all posted functions", func() bool { return total == goroutines*posts })
	s.do(func() {
		if wrong > 0 {
			s.Errorf("%d posted functions ran out of order", wrong)
		}
	})
}

func sceneStop(s *stage) {
	busy, _ := s.open()
	idle, farIdle := s.open()
	s.block(busy)
	ran := false
	s.do(func() {
		s.loop.Stop()
		s.loop.Post(func() { ran = true })
	})
	if !s.rig.Ended() {
		s.Fatal("the loop does not end")
	}
	// The loop is over: what it had is the test's now.
	c := s.rec.at(busy)
	if c.sent != 1 || !errors.Is(c.sentErr, netpoll.ErrStopped) {
		s.Errorf("%d Sent, the last with %v", c.sent, c.sentErr)
	}
	for _, h := range []netpoll.Handle{busy, idle} {
		if !s.rec.at(h).closed || !errors.Is(s.rec.at(h).closedErr, netpoll.ErrStopped) {
			s.Errorf("Closed %t with %v", s.rec.at(h).closed, s.rec.at(h).closedErr)
		}
	}
	if !ran {
		s.Error("a function posted before the end did not run")
	}
	s.expectEnd(farIdle)
}
