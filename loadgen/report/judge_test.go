package report

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *Report)
		failed []string // parts of the reasons, in their order
		exit   int
	}{
		{"all is well", func(*Report) {}, nil, ExitOK},
		{"loss", func(r *Report) { r.Steps[0].Books.Delivered -= 7 },
			[]string{"7 packets were lost that nobody accounts for"}, ExitFailed},
		{"loss, metrics not readable", func(r *Report) {
			r.Steps[0].Books.Dropped, r.Steps[0].Books.DroppedKnown = nil, false
		}, []string{"110 packets were lost, which cannot be explained: the relay's metrics"},
			ExitFailed},
		{"no loss, metrics not readable", func(r *Report) {
			r.Steps[0].Books.Dropped, r.Steps[0].Books.DroppedKnown = nil, false
			r.Steps[0].Books.Delivered += 110
		}, nil, ExitOK},
		{"more drops than losses", func(r *Report) { r.Steps[0].Books.Dropped["gone"] += 3 },
			[]string{"counted 3 more drops than packets were lost"}, ExitFailed},
		{"books out of balance", func(r *Report) { r.Steps[0].Books.Due += 9 },
			[]string{"do not balance: 9 packets"}, ExitFailed},
		{"nothing due", func(r *Report) {
			for i := range r.Steps[0].Groups {
				r.Steps[0].Groups[i] = loadgen.GroupResult{}
			}
		}, []string{"no packet was due in the window of 30 s"}, ExitFailed},
		{"cut and back", func(r *Report) {
			r.Job.Workload.Cut = &loadgen.Cut{After: time.Second, Share: 1}
			r.Steps[0].Readmit = time.Second
		}, nil, ExitOK},
		{"cut and not back", func(r *Report) {
			r.Job.Workload.Cut = &loadgen.Cut{After: time.Second, Share: 1}
			r.Steps[0].Clients, r.Steps[0].Asked, r.Steps[0].Answered = 20, 20, 20
			r.Steps[0].Failures.Add(loadgen.FailLogin, 5000, "closed")
		}, []string{"not all clients came back after the cut: 20 are logged in at the end; login, such"},
			ExitFailed},
		{"cut too late", func(r *Report) {
			r.Job.Workload.Cut = &loadgen.Cut{After: time.Minute, Share: 1}
		}, []string{"the window of 30 s ended before the cut, which comes after"}, ExitFailed},
		{"churn", func(r *Report) {
			r.Job.Workload.Churn = &loadgen.Churn{PerSecond: 100}
			r.Steps[0].Clients = 1700
		}, nil, ExitOK},
		{"churn of which none come back", func(r *Report) {
			r.Job.Workload.Churn = &loadgen.Churn{PerSecond: 100}
			r.Steps[0].Clients = 1699
		}, []string{"clients that left were not replaced: 1,699 of 2,000"}, ExitFailed},
		{"a process of the generator died", func(r *Report) {
			r.Steps[0].Partial = true
			r.Steps[0].Failures.Add(loadgen.FailLocal, 1000, "signal: killed")
		}, []string{"1,000 clients failed on this machine: signal: killed"}, ExitFailed},
		{"nobody to talk", func(r *Report) { r.Steps[0].Groups = nil }, nil, ExitOK},
		{"wrong packets", func(r *Report) {
			r.Steps[0].Wrong = loadgen.Wrong{Key: 1, Order: 2, Content: 3, Twice: 4}
		}, []string{"1 to or from a wrong key, 2 out of order, 3 altered, 4 twice"}, ExitFailed},
		{"silent clients", func(r *Report) { r.Steps[0].Answered = 1999 },
			[]string{"1 of 2,000 clients did not answer"}, ExitFailed},
		{"wrong STUN answers", func(r *Report) {
			r.Steps[0].STUN = &loadgen.STUNResult{Answered: 5, Asked: 5, Wrong: 2}
		}, []string{"2 STUN answers"}, ExitFailed},
		{"no STUN answers", func(r *Report) {
			r.Steps[0].STUN = &loadgen.STUNResult{Sent: 5000, Asked: 5000, Lost: 5000}
		}, []string{"none of 5,000 STUN requests was answered"}, ExitFailed},
		{"no STUN requests", func(r *Report) {
			r.Steps[0].STUN = &loadgen.STUNResult{}
		}, []string{"none of 0 STUN requests was answered"}, ExitFailed},
		{"many STUN requests without an answer", func(r *Report) {
			r.Steps[0].STUN = stunResult(4949, 51)
		}, []string{"51 of 5,000 STUN requests (1.02 %) were not answered, more than 1 %"}, ExitFailed},
		{"few STUN requests without an answer", func(r *Report) {
			r.Steps[0].STUN = stunResult(4950, 50)
		}, nil, ExitOK},
		{"interrupted before STUN answers came", func(r *Report) {
			r.Steps[0].Partial = true
			r.Steps[0].STUN = &loadgen.STUNResult{Sent: 5000, Asked: 5000, Lost: 5000}
		}, nil, ExitPartial},
		{"STUN answers after the window", func(r *Report) {
			r.Steps[0].STUN = stunResult(5000, 0)
			r.Steps[0].STUN.Answered = 0
		}, nil, ExitOK},
		{"connections ended", func(r *Report) {
			r.Steps[0].Failures.Add(loadgen.FailReset, 3, "connection reset by peer")
		}, []string{"3 connections of clients that were logged in ended, reset: connection"},
			ExitFailed},
		{"connections ended where that is the relay's right", func(r *Report) {
			r.Job.Workload.Groups[0].Reading.Never = true
			r.Steps[0].Failures.Add(loadgen.FailClosed, 3, "EOF")
		}, nil, ExitOK},
		{"no client in", func(r *Report) {
			r.Steps = nil
			r.Ramp = &loadgen.RampResult{Wanted: 3}
			r.Ramp.Failures.Add(loadgen.FailTLS, 1, "bad certificate")
			r.Ramp.Failures.Add(loadgen.FailRefused, 2, "connection refused")
		}, []string{"none of 3 clients could log in: refused, such as: connection refused"},
			ExitNotMade},
		{"some clients not in", func(r *Report) { r.Ramp.Clients = 1999 },
			[]string{"1 of 2,000 clients could not log in: no reason"}, ExitFailed},
		{"interrupted in the ramp", func(r *Report) {
			r.Steps = nil
			r.Ramp.Clients, r.Ramp.Partial = 0, true
		}, nil, ExitPartial},
		{"interrupted in a step", func(r *Report) {
			r.Steps[0].Partial = true
			r.Steps[0].Books.Delivered -= 7
			r.Steps[0].Answered = 0
		}, nil, ExitPartial},
		{"interrupted after a wrong packet", func(r *Report) {
			r.Steps[0].Partial = true
			r.Steps[0].Wrong.Twice = 1
		}, []string{"1 twice"}, ExitFailed},
		{"an incident", func(r *Report) { r.Incidents = []string{"the relay died"} },
			[]string{"the relay died"}, ExitFailed},
		{"an error", func(r *Report) { r.Error = "no such host" }, nil, ExitNotMade},
	} {
		r := sample(1)
		c.change(r)
		Judge(r)
		once := *r
		if Judge(r); !reflect.DeepEqual(once.Failed, r.Failed) {
			t.Errorf("%s: judged again: %q", c.name, r.Failed)
		}
		if len(r.Failed) != len(c.failed) {
			t.Errorf("%s: failed by %q, want %q", c.name, r.Failed, c.failed)
			continue
		}
		for i, part := range c.failed {
			if !strings.Contains(r.Failed[i], part) {
				t.Errorf("%s: failed by %q, want %q", c.name, r.Failed[i], part)
			}
		}
		if r.ExitCode() != c.exit {
			t.Errorf("%s: exit code %d, want %d", c.name, r.ExitCode(), c.exit)
		}
	}
}

func TestJudgeNamesTheStepAndTheLimit(t *testing.T) {
	r := sample(3)
	r.Steps[1].Wrong.Key = 1
	r.Steps[2].Slack.Limited = "no idle turns"
	Judge(r)
	if len(r.Failed) != 1 || !strings.HasPrefix(r.Failed[0], "step 2: ") {
		t.Errorf("failed by %q", r.Failed)
	}
	if r.Limited != "step 3: no idle turns" {
		t.Errorf("limited by %q", r.Limited)
	}
	r.Steps[2].Slack.Limited = ""
	if Judge(r); r.Limited != "" {
		t.Errorf("still limited by %q", r.Limited)
	}
}

// stunResult is of so many requests, all sent in the window.
func stunResult(answered, lost int) *loadgen.STUNResult {
	n := uint64(answered + lost)
	return &loadgen.STUNResult{Due: n, Sent: n, Answered: uint64(answered), Asked: n,
		Lost: uint64(lost), Latency: times(5, answered, 100*time.Microsecond)}
}

// What an OK stands for: a run of STUN alone says nothing of packets, and a loss shows.
func TestVerdictOfSTUN(t *testing.T) {
	r := sample(2)
	for _, s := range r.Steps {
		s.Groups, s.Asked, s.Answered, s.Books = nil, 0, 0, loadgen.Books{}
		s.STUN = stunResult(5000, 0)
	}
	r.Steps[1].STUN = stunResult(4993, 7)
	Judge(r)
	want := "OK: step 1: every STUN request sent was answered, and step 2: 7 of 5,000 STUN requests " +
		"(0.14 %) were not answered"
	if got := verdict(r).Lines; len(got) != 1 || got[0] != want {
		t.Errorf("the verdict is %q, want %q", got, want)
	}
}

func TestExitCodeOfNothing(t *testing.T) {
	r := &Report{Kind: Run}
	if Judge(r); r.ExitCode() != ExitNotMade {
		t.Errorf("exit code %d", r.ExitCode())
	}
	r = &Report{Kind: Plan, Plan: []byte(`{"knee":1}`), Time: time.Now()}
	if Judge(r); r.ExitCode() != ExitOK {
		t.Errorf("exit code of a plan %d", r.ExitCode())
	}
}
