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

// engineAuto takes io_uring where it can be used.
const engineAuto = "auto"
