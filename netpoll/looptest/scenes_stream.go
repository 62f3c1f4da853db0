package looptest

import (
	"bytes"
	"errors"
	"time"

	"derpd/netpoll"
)

func sceneReceive(s *stage) {
	h, far := s.open()
	want := pattern(1, 300_000)
	far.Write(want[:1])
	far.Write(want[1:])
	far.CloseWrite()
	s.await("all bytes and the end", func() bool {
		return len(s.rec.at(h).data) >= len(want) && s.rec.at(h).fin > 0
	})
	answer := pattern(2, 10_000)
	var kept bool
	s.do(func() {
		if !bytes.Equal(s.rec.at(h).data, want) {
			s.Error("received other bytes than were sent")
		}
		if !s.rec.at(h).remote.IsValid() {
			s.Error("Accepted without the peer's address")
		}
		if local, err := s.loop.LocalAddr(h); err != nil || local.Port() == 0 {
			s.Errorf("LocalAddr: %v, %v", local, err)
		}
		if rtt, ok := s.loop.RoundTrip(h); ok && (rtt <= 0 || rtt > time.Minute) {
			s.Errorf("RoundTrip: %v", rtt)
		}
		kept = !s.loop.Send(h, answer)
	})
	s.expect(far, answer)
	s.await("Sent", func() bool { return !kept || s.rec.at(h).sent == 1 })
	s.do(func() { s.loop.Close(h) })
	s.await("Closed", func() bool { return s.rec.at(h).closed })
	s.do(func() {
		if c := s.rec.at(h); c.fin != 1 || c.closedErr != nil {
			s.Errorf("end told %d times, Closed with %v", c.fin, c.closedErr)
		}
	})
	s.expectEnd(far)
}

func sceneReceiveMax(s *stage) {
	h, far := s.open()
	s.do(func() { s.loop.SetReceiveMax(h, 700) })
	far.Write(pattern(1, 20_000))
	s.await("all bytes", func() bool { return len(s.rec.at(h).data) == 20_000 })
	s.do(func() {
		over := 0
		for _, n := range s.rec.at(h).pieces {
			if n > 700 {
				over++
			}
		}
		if over > 1 {
			s.Errorf("%d pieces of more than 700 bytes: %v", over, s.rec.at(h).pieces)
		}
	})
}

func scenePause(s *stage) {
	h, far := s.open()
	first := true
	s.do(func() {
		s.rec.onReceived = func(h netpoll.Handle, _ []byte) {
			if first {
				first = false
				s.loop.PauseReceive(h)
			}
		}
	})
	want := pattern(1, 1_000_000)
	far.Write(want)
	s.await("the first bytes", func() bool { return len(s.rec.at(h).data) > 0 })
	s.pass(100 * time.Millisecond)
	s.do(func() {
		if n := len(s.rec.at(h).pieces); n > 2 || len(s.rec.at(h).data) == len(want) {
			s.Errorf("%d pieces, %d bytes although paused", n, len(s.rec.at(h).data))
		}
		s.loop.ResumeReceive(h)
	})
	s.await("the rest", func() bool { return bytes.Equal(s.rec.at(h).data, want) })
}

func sceneSendBlocked(s *stage) {
	h, far := s.open()
	want := s.block(h)
	s.pass(100 * time.Millisecond)
	s.do(func() {
		if s.rec.at(h).sent != 0 {
			s.Error("Sent although the far end reads nothing")
		}
		if s.loop.Stats().SendBlocked == 0 {
			s.Error("Stats counts no blocked Send")
		}
	})
	s.expect(far, want)
	s.await("Sent", func() bool { return s.rec.at(h).sent == 1 })
	s.do(func() {
		if c := s.rec.at(h); c.sentErr != nil || c.sentBytes != len(want) {
			s.Errorf("Sent told %d bytes, %v", c.sentBytes, c.sentErr)
		}
		if s.loop.Stats().SendBytes < uint64(len(want)) {
			s.Errorf("Stats counts %d bytes of %d", s.loop.Stats().SendBytes, len(want))
		}
	})
}

func sceneSendTwice(s *stage) {
	h, _ := s.open()
	s.block(h)
	s.do(func() {
		defer func() {
			if recover() == nil {
				s.Error("a second Send does not panic")
			}
		}()
		s.loop.Send(h, []byte("more"))
	})
}

func sceneWriteTimeout(s *stage) {
	h, _ := s.open()
	const timeout = 200 * time.Millisecond
	begin := s.rig.Clock()
	s.do(func() { s.loop.SetWriteTimeout(h, timeout) })
	b := s.block(h)
	s.await("Closed", func() bool { return s.rec.at(h).closed })
	if took := s.rig.Clock() - begin; took < timeout {
		s.Errorf("the write timeout came after %v, set to %v", took, timeout)
	}
	s.do(func() {
		c := s.rec.at(h)
		if c.sent != 1 || !errors.Is(c.sentErr, netpoll.ErrWriteTimeout) ||
			c.sentBytes >= len(b) {
			s.Errorf("%d Sent, the last of %d bytes with %v", c.sent, c.sentBytes, c.sentErr)
		}
		if !errors.Is(c.closedErr, netpoll.ErrWriteTimeout) {
			s.Errorf("Closed with %v", c.closedErr)
		}
	})
}

func sceneClose(s *stage) {
	h, _ := s.open()
	s.block(h)
	s.do(func() { s.loop.Close(h) })
	s.await("Closed", func() bool { return s.rec.at(h).closed })
	s.do(func() {
		c := s.rec.at(h)
		if c.sent != 1 || !errors.Is(c.sentErr, netpoll.ErrClosed) || c.closedErr != nil {
			s.Errorf("%d Sent, the last with %v; Closed with %v", c.sent, c.sentErr, c.closedErr)
		}
	})
}

// The Checker sees whether Closed and Woken come in the order of a turn.
func sceneCloseInFlush(s *stage) {
	h, _ := s.open()
	s.block(h)
	s.do(func() {
		s.rec.onFlush = func() {
			s.rec.onFlush = nil
			s.loop.Close(h)
			s.loop.Wake()
		}
	})
	s.await("Closed", func() bool { return s.rec.at(h).closed })
}

func sceneReset(s *stage) {
	h, far := s.open()
	s.do(func() { s.loop.Reset(h) })
	s.await("Closed", func() bool { return s.rec.at(h).closed })
	s.do(func() {
		if err := s.rec.at(h).closedErr; err != nil {
			s.Errorf("Closed with %v", err)
		}
	})
	s.expectEnd(far)
	if !far.WasReset() {
		s.Error("the far end saw an ordinary end")
	}
}

func sceneFarReset(s *stage) {
	idle, farIdle := s.open()
	busy, farBusy := s.open()
	b := s.block(busy)
	farIdle.Reset()
	farBusy.Reset()
	s.await("both Closed", func() bool { return s.rec.at(idle).closed && s.rec.at(busy).closed })
	s.do(func() {
		c := s.rec.at(busy)
		if c.sent != 1 || c.sentErr == nil || c.sentBytes >= len(b) {
			s.Errorf("%d Sent, the last of %d bytes with %v", c.sent, c.sentBytes, c.sentErr)
		}
		if s.rec.at(idle).closedErr == nil || c.closedErr == nil {
			s.Error("Closed without a cause")
		}
	})
}

func sceneMany(s *stage) {
	const count = 60
	var fars []Far
	for i := range count {
		far := s.rig.Dial()
		far.Write(pattern(i, 5000+i))
		fars = append(fars, far)
	}
	s.await("everything of everybody", func() bool {
		total := 0
		for _, h := range s.rec.accepts {
			total += len(s.rec.at(h).data)
		}
		return total == count*5000+count*(count-1)/2
	})
	s.do(func() {
		if s.loop.Stats().Connections != count || s.loop.Stats().Accepts != count {
			s.Errorf("Stats counts %+v of %d connections", s.loop.Stats(), count)
		}
	})
	s.do(func() {
		for _, h := range s.rec.accepts {
			n := len(s.rec.at(h).data)
			if !bytes.Equal(s.rec.at(h).data, pattern(n-5000, n)) {
				s.Errorf("%#x received bytes of another", uint64(h))
			}
			s.loop.Send(h, []byte{byte(n - 5000)})
		}
	})
	for i, far := range fars {
		s.expect(far, []byte{byte(i)})
		far.CloseWrite()
	}
	s.await("every end", func() bool {
		ends := 0
		for _, h := range s.rec.accepts {
			ends += s.rec.at(h).fin
		}
		return ends == count
	})
}

func sceneStale(s *stage) {
	old, _ := s.open()
	s.do(func() {
		s.loop.SetTimeout(old, time.Hour)
		s.loop.Close(old)
		s.loop.Close(old)
		if !s.loop.Send(old, []byte("x")) {
			s.Error("Send after Close keeps the buffer")
		}
	})
	s.await("Closed", func() bool { return s.rec.at(old).closed })
	h, far := s.open()
	if h == old {
		s.Fatal("a handle was given twice")
	}
	s.do(func() {
		s.loop.SetTimeout(old, time.Millisecond)
		s.loop.SetWriteTimeout(old, time.Millisecond)
		s.loop.SetReceiveMax(old, 1)
		s.loop.PauseReceive(old)
		if !s.loop.Send(old, []byte("nobody's")) {
			s.Error("Send on an ended connection keeps the buffer")
		}
		if _, err := s.loop.LocalAddr(old); err == nil {
			s.Error("LocalAddr of an ended connection succeeds")
		}
		if _, ok := s.loop.RoundTrip(old); ok {
			s.Error("RoundTrip of an ended connection succeeds")
		}
		s.loop.Close(old)
		s.loop.Reset(old)
	})
	far.Write([]byte("still here"))
	s.await("the successor's bytes", func() bool { return len(s.rec.at(h).data) == 10 })
	s.pass(3 * netpoll.TimerTick)
	s.do(func() {
		if c := s.rec.at(h); c.closed || c.timeouts > 0 {
			s.Errorf("a stale handle reached its successor: %+v", c)
		}
	})
}
