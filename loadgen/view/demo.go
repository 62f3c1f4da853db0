package view

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// RelayStats is a look at a relay. Counts are since it started.
type RelayStats struct {
	Connections int
	PacketsIn   uint64
	PacketsOut  uint64
	Dropped     map[string]uint64 // by the relay's reasons; nil: none
	CPU         time.Duration     // user and kernel
	RSSBytes    int64
}

// Demo is the live screen of a demonstration. Its functions are called twice a second by the
// goroutine that runs it.
type Demo struct {
	Title    string // such as what talks to what
	Out      io.Writer
	Terminal *Terminal // nil: lines every five seconds
	// Progress must return a histogram of its own each time, as of a Fleet.
	Progress func() loadgen.Progress
	Relay    func() RelayStats
	// CPU is the processor time that the generator has used.
	CPU func() time.Duration
	For time.Duration // 0: 60 s
}

// Run shows how things are until ctx ends or the time is over. In the end the terminal is as it
// was, and a line sums up what was seen.
func (d *Demo) Run(ctx context.Context) {
	s := newScene(d)
	if d.Terminal != nil {
		fmt.Fprint(d.Out, enterScreen)
		// Also if a look panics: a terminal without a cursor is no place to read that.
		defer func() {
			fmt.Fprint(d.Out, leaveScreen)
			fmt.Fprintln(d.Out, s.summary())
		}()
	} else {
		defer func() { fmt.Fprintln(d.Out, s.summary()) }()
	}
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	nextLine := s.began.Add(lineEvery)
	for {
		now := time.Now()
		s.look(now)
		switch {
		case d.Terminal != nil:
			columns, rows := d.Terminal.Size()
			fmt.Fprint(d.Out, frame(s.rows(columns), columns, rows, d.Terminal.Color))
		case !now.Before(nextLine):
			nextLine = nextLine.Add(lineEvery)
			fmt.Fprintln(d.Out, s.line())
		}
		if s.since >= s.length {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// scene is what the screen shows.
type scene struct {
	demo   *Demo
	length time.Duration
	began  time.Time
	since  time.Duration

	fleet, fleetBefore loadgen.Progress
	relay              RelayStats

	in, out, relayCPU, ourCPU, delivered meter
	ins, outs, p50s, p99s                series
	p50, p99                             time.Duration // of the last moment
}

func newScene(d *Demo) *scene {
	return &scene{demo: d, length: cmp.Or(d.For, demoFor), began: time.Now()}
}

// look takes note of how things are.
func (s *scene) look(now time.Time) {
	s.since = now.Sub(s.began)
	s.fleetBefore, s.fleet = s.fleet, s.demo.Progress()
	s.relay = s.demo.Relay()
	s.in.add(now, float64(s.relay.PacketsIn))
	s.out.add(now, float64(s.relay.PacketsOut))
	s.relayCPU.add(now, float64(s.relay.CPU))
	s.ourCPU.add(now, float64(s.demo.CPU()))
	s.delivered.add(now, float64(s.fleet.Delivered))
	recent := s.fleet.Latency.Since(s.fleetBefore.Latency)
	if recent.Count() > 0 {
		s.p50, s.p99 = recent.At(50), recent.At(99)
	}
	s.ins.add(s.in.perSecond())
	s.outs.add(s.out.perSecond())
	s.p50s.add(float64(s.p50))
	s.p99s.add(float64(s.p99))
}

// summary is the last word, in a line.
func (s *scene) summary() string {
	s.since = time.Since(s.began)
	latency := "no packet was delivered"
	if h := s.fleet.Latency; h.Count() > 0 {
		latency = fmt.Sprintf("p50 %s, p99 %s", units.Time(h.At(50)), units.Time(h.At(99)))
	}
	return fmt.Sprintf("%s: %s clients, %s packets delivered, %s, %s.", units.Clock(s.since),
		units.Count(s.fleet.Clients), units.Count(s.fleet.Delivered), latency,
		lost(s.relay.Dropped))
}

// line is a look in one line.
func (s *scene) line() string {
	return fmt.Sprintf("%s: %s clients · %s/s in · %s/s out · p50 %s · p99 %s · %s · relay %s",
		units.Clock(s.since), units.Count(s.fleet.Clients), units.Whole(s.in.perSecond()),
		units.Whole(s.out.perSecond()), units.Time(s.p50), units.Time(s.p99),
		lost(s.relay.Dropped), cpuShare(&s.relayCPU))
}

// cpuShare tells how many processors were at work.
func cpuShare(m *meter) string {
	return units.Digits(m.perSecond()/1e9*100, 3) + " % CPU"
}
