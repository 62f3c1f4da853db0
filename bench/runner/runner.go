package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"derpd/bench"
	"derpd/loadgen/units"
)

// Scenario is a way to load a relay and to take figures of it.
type Scenario struct {
	Name   string
	Text   string // what it is, for reports
	Rounds int
	Plain  bool // TCP without TLS
	STUN   bool // on; peers without it are left out
	// Knee tells that it needs to know the reference's knee.
	Knee bool
	// Play loads the relay of a session, and adds figures to it.
	Play func(ctx context.Context, s *Session) error
}

// KneeOf names the scenario and the load whose figure Delivered is a peer's knee with one frame a
// write over TLS.
const (
	KneeScenario = "knee-tls"
	KneeLoad     = "1-a-write"
)

// Runner runs scenarios.
type Runner struct {
	Bed       Bed
	Peers     []bench.Peer
	Reference string // name of the peer that loads are shares of; empty: none
	// Knee is the reference's, packets a second; 0: it is taken from the scenario KneeScenario.
	Knee float64
	// NoiseMax is the share of the machine that others may have in a turn that is used.
	NoiseMax float64
	Say      func(format string, args ...any) // tells how a run goes on, a line a call

	results []bench.Result
	notes   []string
	repeats int // that may still be
}

// Run runs all scenarios and puts results, notes and knee into the report. When ctx ends, the
// report is partial.
func (r *Runner) Run(ctx context.Context, scenarios []Scenario, into *bench.Report) {
	r.results, r.notes = nil, nil
	turns := 0
	for i := range scenarios {
		turns += scenarios[i].Rounds * len(r.in(&scenarios[i]))
	}
	r.repeats = int(math.Ceil(float64(turns) * repeatShare))
	for i := range scenarios {
		r.scenario(ctx, &scenarios[i])
	}
	into.Results, into.Notes, into.KneeTLS = r.results, r.notes, r.knee()
	into.Partial = ctx.Err() != nil
}

// knee is the reference's, rounded so that two runs take the same loads; 0: not known.
func (r *Runner) knee() float64 {
	if r.Knee > 0 {
		return r.Knee
	}
	report := bench.Report{Results: r.results}
	s := report.Result(KneeScenario, r.Reference).Figure(KneeLoad, bench.Delivered).Summary()
	return roundLoad(s.Median)
}

// roundLoad rounds down to one of twelve values a decade (the series E12 of resistors): the knees
// of two runs differ by some percent, and latencies can only be compared at the same load.
func roundLoad(v float64) float64 {
	if v <= 0 {
		return 0
	}
	decade := math.Pow(10, math.Floor(math.Log10(v))-1)
	steps := []float64{10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82}
	for _, step := range slices.Backward(steps) {
		if step*decade <= v*(1+1e-9) {
			return step * decade
		}
	}
	return steps[0] * decade
}

// in lists the peers that take part in a scenario.
func (r *Runner) in(s *Scenario) (list []bench.Peer) {
	for _, p := range r.Peers {
		if s.STUN && p.NoSTUN || len(p.Only) > 0 && !slices.Contains(p.Only, s.Name) {
			continue
		}
		list = append(list, p)
	}
	return list
}

// scenario runs all rounds of a scenario: all peers in turn, then all again.
func (r *Runner) scenario(ctx context.Context, s *Scenario) {
	first, peers := len(r.results), r.in(s)
	for _, p := range peers {
		r.results = append(r.results, bench.Result{Scenario: s.Name, Peer: p.Name})
	}
	knee := r.knee()
	for round := 1; round <= s.Rounds; round++ {
		for i, p := range peers {
			res := &r.results[first+i]
			switch {
			case res.Error != "":
			case ctx.Err() != nil:
				res.Error = "interrupted"
			case s.Knee && knee == 0:
				res.Error = fmt.Sprintf("loads are shares of the knee of %q, which is not known",
					r.Reference)
			default:
				r.Say("%s, round %d of %d: %s", s.Name, round, s.Rounds, p.Name)
				r.turn(ctx, s, p, knee, round, res)
			}
		}
	}
	for i := range peers {
		r.conclude(&r.results[first+i])
	}
}

// turn plays a scenario on a peer until it is not disturbed, and keeps the figures.
func (r *Runner) turn(ctx context.Context, s *Scenario, p bench.Peer, knee float64, round int,
	res *bench.Result) {
	for attempt := 1; ; attempt++ {
		session, err := r.play(ctx, s, p, knee)
		if session != nil {
			r.note(p.Name, session.missing)
			res.Remarks = remark(res.Remarks, session.remarks)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			r.fail(res, round, err)
			return
		}
		n := session.noise
		used := max(n.Steal, n.Other) <= r.NoiseMax
		res.Rounds = append(res.Rounds, bench.Round{Number: round, Attempt: attempt, Steal: n.Steal,
			Other: n.Other, Used: used})
		if used {
			keep(res, session.figures, round)
			if session.failed != nil {
				r.fail(res, round, session.failed)
			}
			return
		}
		r.Say("%s: %s was disturbed: others used %s of the machine, the hypervisor took %s", s.Name,
			p.Name, units.Percent(n.Other), units.Percent(n.Steal))
		if attempt == attemptsMax || r.repeats == 0 {
			return
		}
		r.repeats--
	}
}

// fail ends the turns of a peer in a scenario.
func (r *Runner) fail(res *bench.Result, round int, err error) {
	res.Error = fmt.Sprintf("round %d: %v", round, err)
	r.Say("%s: %s: %v", res.Scenario, res.Peer, err)
}

// play is one attempt of a turn.
func (r *Runner) play(ctx context.Context, s *Scenario, p bench.Peer, knee float64) (*Session,
	error) {
	relay, err := r.Bed.Launch(ctx, p, s.Plain, s.STUN)
	if err != nil {
		return nil, err
	}
	session := &Session{Peer: p, Knee: knee, bed: r.Bed, relay: relay}
	defer relay.Stop()
	defer session.leave()
	if err := s.Play(ctx, session); err != nil {
		return session, relay.Explain(err)
	}
	if session.failed != nil {
		session.failed = relay.Explain(session.failed)
	}
	return session, nil
}

// keep adds the samples of a turn to the figures of a result.
func keep(res *bench.Result, figures []bench.Figure, round int) {
	for _, f := range figures {
		into := res.Figure(f.At, f.Measure)
		if into == nil {
			res.Figures = append(res.Figures, bench.Figure{At: f.At, Measure: f.Measure, Load: f.Load,
				Found: f.Found})
			into = &res.Figures[len(res.Figures)-1]
		}
		into.Samples = append(into.Samples, f.Samples...)
		into.Rounds = append(into.Rounds, round)
		if into.Limited == "" {
			into.Limited = f.Limited
		}
	}
}

// conclude says why a result has no figures, or fewer than rounds.
func (r *Runner) conclude(res *bench.Result) {
	used, worst := 0, 0.0
	var last int
	for _, round := range res.Rounds {
		if round.Used {
			used++
		} else {
			worst = max(worst, round.Steal, round.Other)
		}
		last = max(last, round.Number)
	}
	switch {
	case res.Error != "" || used == last:
	case used == 0:
		res.Error = fmt.Sprintf("no round was quiet: others had up to %s of the machine, and %s is "+
			"allowed; run it again when they have ended", units.Percent(worst),
			units.Percent(r.NoiseMax))
	default:
		res.Remarks = remark(res.Remarks, []string{fmt.Sprintf("%d of %d rounds were disturbed and "+
			"are left out", last-used, last)})
	}
}

func remark(list, more []string) []string {
	for _, text := range more {
		if len(list) < remarksMax && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

func (r *Runner) note(peer string, missing []string) {
	for _, text := range missing {
		text = bench.Note(peer, text)
		if !slices.Contains(r.notes, text) {
			r.notes = append(r.notes, text)
		}
	}
}
