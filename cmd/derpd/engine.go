package main

import (
	"fmt"

	"derpd/netpoll"
)

// chooseEngine decides what the loops run on, and says so if it is not what was hoped for.
func (s *server) chooseEngine() (netpoll.Engine, error) {
	if s.cfg.engine == string(netpoll.EngineEpoll) {
		return netpoll.EngineEpoll, nil
	}
	err := netpoll.ProbeURing()
	switch {
	case err == nil:
		return netpoll.EngineURing, nil
	case s.cfg.engine == engineAuto:
		s.log.Warn("epoll is used in place of io_uring", "because", err)
		return netpoll.EngineEpoll, nil
	}
	return "", fmt.Errorf("-engine %s: %w; or use -engine auto", s.cfg.engine, err)
}

// loopMaker is netpoll.Engine.New.
type loopMaker func(netpoll.Engine, int, netpoll.Config) (netpoll.Runner, error)

// makeLoops makes the loops. Where -engine auto has chosen io_uring and there cannot be as many
// rings as loops, for want of locked memory or descriptors, they are made on epoll.
func (s *server) makeLoops(make loopMaker) error {
	err := s.loopsOn(s.engine, make)
	if err == nil || s.engine != netpoll.EngineURing || s.cfg.engine != engineAuto {
		return err
	}
	s.log.Warn("epoll is used in place of io_uring", "because", err)
	addr := s.lns[0].Addr()
	for _, l := range s.loops {
		if err := netpoll.Discard(l); err != nil {
			return err
		}
	}
	for _, l := range s.lns {
		l.Close()
	}
	if err := s.listenOn(addr); err != nil {
		return err
	}
	s.engine, s.loops = netpoll.EngineEpoll, nil
	return s.loopsOn(s.engine, make)
}

func (s *server) loopsOn(engine netpoll.Engine, make loopMaker) error {
	c := s.cfg
	for i, ln := range s.lns {
		loop, err := make(engine, i, netpoll.Config{Listeners: []*netpoll.Listener{ln},
			MaxConns: max(netpoll.MaxConnsDefault, c.maxConnections), UserTimeout: c.userTimeout,
			KeepAlive: c.keepAliveTime(), Gather: c.latencyBudget, Logger: s.log})
		if err != nil {
			return err
		}
		s.loops = append(s.loops, loop)
	}
	return nil
}

// engineAuto takes io_uring where it can be used.
const engineAuto = "auto"
