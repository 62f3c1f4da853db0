package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"derpd/netpoll"
)

// TestFewerRingsThanLoops: where the last ring cannot be made, all loops are made on epoll, on the
// same port, and the log says why; unless io_uring was asked for.
func TestFewerRingsThanLoops(t *testing.T) {
	if err := netpoll.ProbeURing(); err != nil {
		t.Skip("no io_uring here: ", err)
	}
	for _, engine := range []string{engineAuto, string(netpoll.EngineURing)} {
		var log bytes.Buffer
		s := &server{cfg: &config{loops: 3, engine: engine, maxConnections: 2e6}, engine: netpoll.EngineURing,
			log: slog.New(slog.NewTextHandler(&log, nil))}
		if err := s.listenOn(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
			t.Fatal(err)
		}
		addr := s.lns[0].Addr()
		err := s.makeLoops(func(e netpoll.Engine, id int, cfg netpoll.Config) (netpoll.Runner, error) {
			if cfg.MaxConns != 2e6 {
				t.Errorf("a loop holds %d connections at most", cfg.MaxConns)
			}
			if e == netpoll.EngineURing && id == 2 {
				return nil, errors.New("no memory for a third ring")
			}
			return e.New(id, cfg)
		})
		if engine != engineAuto {
			if err == nil || s.engine != netpoll.EngineURing {
				t.Errorf("-engine %s: %v, on %s", engine, err, s.engine)
			}
		} else {
			if err != nil || s.engine != netpoll.EngineEpoll || len(s.loops) != 3 ||
				!strings.Contains(log.String(), "third ring") {
				t.Errorf("%v: %d loops on %s; %s", err, len(s.loops), s.engine, &log)
			}
			if c, err := net.Dial("tcp", addr.String()); err != nil {
				t.Errorf("nobody listens any more: %v", err)
			} else {
				c.Close()
			}
		}
		for _, l := range s.loops {
			netpoll.Discard(l)
		}
		s.closeListeners()
	}
}
