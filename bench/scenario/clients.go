package scenario

import (
	"context"
	"fmt"
	"time"

	"derpd/bench"
	"derpd/bench/runner"
	"derpd/loadgen"
	"derpd/loadgen/workloads"
)

// bystanders is the name that workloads give the pairs which show whether others are hurt.
const bystanders = "bystanders"

// defaults leaves a workload as it is.
var defaults = workloads.Params{}

// idle is silent clients: what they take, and what letting them in took.
func idle(z size) runner.Scenario {
	return runner.Scenario{Name: "idle-tls", Rounds: z.heavy,
		Text: fmt.Sprintf("%d clients over TLS that log in and are silent, looked at %v after the last "+
			"login", z.clients, z.settle),
		Play: func(ctx context.Context, s *runner.Session) error {
			w := build("idle", workloads.Params{Clients: z.clients}, 0)
			if _, err := settleIn(ctx, s, w, z.settle); err != nil {
				return err
			}
			return askAll(ctx, s, 0, z.clients)
		}}
}

// many is the cost of many clients, silent and talking, and of a packet among them.
func many(z size) runner.Scenario { return crowded(z, "many-tls", z.clients, 0.1) }

// vast is the same with as many as one process can hold that opens no file for each.
func vast(z size) runner.Scenario { return crowded(z, "vast-tls", z.vast, 0.02) }

func crowded(z size, name string, clients int, active float64) runner.Scenario {
	return runner.Scenario{Name: name, Rounds: z.heavy,
		Text: fmt.Sprintf("%d clients over TLS: silent for %v after the last login, then %.0f %% of "+
			"them talk, %d packets a second; then the same traffic with %d clients, once in the bursts "+
			"of so few (few), and once at random times, as that of many comes together (few-even)",
			clients, z.settle, 100*active, chatterRate, fewClients),
		Play: func(ctx context.Context, s *runner.Session) error {
			if !s.Holds(clients) {
				return nil
			}
			w := build("chatter", workloads.Params{Clients: clients, Active: active}, chatterRate)
			before, err := settleIn(ctx, s, w, z.settle)
			if err != nil {
				return err
			}
			// Twice the window: a tenth of the talkers talks at a time.
			m, err := deliver(ctx, s, step(chatterRate, 2*z.window))
			if err != nil {
				return err
			}
			user, kernel, err := s.Memory()
			if err != nil {
				return err
			}
			n := float64(clients)
			s.Add("", bench.ActiveMemory, (user-before.user)/n, 0, m)
			s.Add("", bench.ActiveKernel, (kernel-before.kernel)/n, 0, m)
			addStep(s, "many", chatterRate, m)
			if err := askAll(ctx, s, chatterRate, clients); err != nil {
				return err
			}
			few := build("chatter", workloads.Params{Clients: fewClients}, chatterRate)
			fewer, err := amongFew(ctx, s, "few", few, z)
			if err != nil {
				return err
			}
			addGrowth(s, "", m, fewer)
			even := build("chatter", workloads.Params{Clients: fewClients}, chatterRate)
			for i := range even.Groups {
				even.Groups[i].Arrival = loadgen.Arrival{Kind: loadgen.Poisson}
			}
			if fewer, err = amongFew(ctx, s, "few-even", even, z); err != nil {
				return err
			}
			addGrowth(s, "few-even", m, fewer)
			return nil
		}}
}

// amongFew records a step of a workload with few clients.
func amongFew(ctx context.Context, s *runner.Session, at string, w loadgen.Workload, z size) (
	*runner.Measured, error) {
	if _, err := s.Ramp(ctx, w); err != nil {
		return nil, err
	}
	m, err := deliver(ctx, s, step(chatterRate, 2*z.window))
	if err != nil {
		return nil, err
	}
	addStep(s, at, chatterRate, m)
	return m, nil
}

// addGrowth records what a packet costs among many by what it costs among few; if the generator was
// the limit in either step, it was of this figure.
func addGrowth(s *runner.Session, at string, many, few *runner.Measured) {
	with, _, _ := many.CPUMicros()
	by, _, _ := few.CPUMicros()
	limit := many
	if few.Slack.Limited != "" {
		limit = few
	}
	s.Add(at, bench.Growth, with/by, 0, limit)
}

// taken is memory in bytes.
type taken struct{ user, kernel float64 }

// settleIn logs the clients of a workload in, and records what that took and what they take.
func settleIn(ctx context.Context, s *runner.Session, w loadgen.Workload, settle time.Duration) (
	before taken, err error) {
	if before.user, before.kernel, err = s.Memory(); err != nil {
		return before, err
	}
	r, err := s.Ramp(ctx, w)
	if err != nil {
		return before, err
	}
	n := float64(r.Clients)
	s.Add("", bench.Logins, n/r.Took.Seconds(), 0, nil)
	s.Add("", bench.LoginCPU, runner.Micros(r.CPU)/n, 0, nil)
	if err := s.Wait(ctx, settle); err != nil {
		return before, err
	}
	user, kernel, err := s.Memory()
	if err != nil {
		return before, err
	}
	s.Add("", bench.IdleMemory, (user-before.user)/n, 0, nil)
	s.Add("", bench.IdleKernel, (kernel-before.kernel)/n, 0, nil)
	return before, nil
}

// askAll lets every client prove by a ping that it is still served. A step needs traffic if its
// workload has any.
func askAll(ctx context.Context, s *runner.Session, rate float64, clients int) error {
	m, err := s.Step(ctx, loadgen.Step{Rate: rate, Window: askWindow, Drain: drain, Ask: true})
	if err != nil {
		return err
	}
	if gone := clients - m.Answered; gone > 0 {
		s.Fail("%d of %d clients were not served any more: their connections had ended, or a ping had "+
			"no answer", gone, clients)
	}
	return nil
}

// storm is a cut of most clients: how long until they are back, and are others hurt?
func storm(z size) runner.Scenario { return stormOf(z, "storm-tls", z.cut) }

// vastStorm is one of more clients than most relays can open files.
func vastStorm(z size) runner.Scenario { return stormOf(z, "vast-storm-tls", z.vastCut) }

func stormOf(z size, name string, clients int) runner.Scenario {
	const rate = 1000
	window := time.Second + time.Duration(clients)*readmitMax
	return runner.Scenario{Name: name, Rounds: z.heavy,
		Text: fmt.Sprintf("%d clients over TLS lose their connections at once and come back as fast as "+
			"they are let, beside 10 pairs with %d packets a second together, which have a loop of the "+
			"generator to themselves; it sleeps when it has nothing to do", clients, rate),
		Play: func(ctx context.Context, s *runner.Session) error {
			if !s.Holds(clients) {
				return nil
			}
			w := build("storm", workloads.Params{Clients: clients}, rate)
			calm := loadgen.Workload{Name: "calm", Groups: w.Groups}
			if _, err := s.Ramp(ctx, calm); err != nil {
				return err
			}
			m, err := s.Step(ctx, asleep(step(rate, z.window)))
			if err != nil {
				return err
			}
			addOthers(s, "calm", m)
			if _, err := s.Ramp(ctx, w); err != nil {
				return err
			}
			if m, err = s.Step(ctx, asleep(step(rate, window))); err != nil {
				return err
			}
			addOthers(s, "storm", m)
			if m.Readmit <= 0 {
				s.Fail("not all of %d clients were back within %v", clients, window-w.Cut.After)
				return nil
			}
			s.Add("", bench.Readmit, m.Readmit.Seconds(), 0, m)
			return nil
		}}
}

// stun is binding requests, evenly spaced as many clients ask and as fast as answers come.
func stun(z size) runner.Scenario {
	return runner.Scenario{Name: "stun", Rounds: z.few, STUN: true,
		Text: "STUN binding requests from 16 sockets: 5000 and 50000 a second, and as fast as " +
			"answers come",
		Play: func(ctx context.Context, s *runner.Session) error {
			for _, load := range []struct {
				at   string
				rate float64
			}{{"5k", 5000}, {"50k", 50_000}, {"", 0}} {
				w := build("stun", workloads.Params{Port: s.STUNPort()}, load.rate)
				if _, err := s.Ramp(ctx, w); err != nil {
					return err
				}
				m, err := s.Step(ctx, step(load.rate, z.window))
				if err != nil {
					return err
				}
				if m.STUN == nil || m.STUN.Answered == 0 {
					s.Fail("it answered none of the STUN requests of %v", z.window)
					return nil
				}
				addAnswers(s, load.at, load.rate, m)
			}
			return nil
		}}
}

// addAnswers records what a step of requests yields; how long an answer takes when they wait for
// each other says nothing.
func addAnswers(s *runner.Session, at string, rate float64, m *runner.Measured) {
	s.Add(at, bench.Answers, float64(m.STUN.Answered)/m.Window.Seconds(), rate, m)
	s.Add(at, bench.AnswerCPU, runner.Micros(m.CPU)/float64(m.STUN.Answered), rate, m)
	if h := m.STUN.Latency; rate > 0 && h.Count() > 0 {
		s.Add(at, bench.P50, runner.Micros(h.At(50)), rate, m)
		s.Add(at, bench.P99, runner.Micros(h.At(99)), rate, m)
	}
}
