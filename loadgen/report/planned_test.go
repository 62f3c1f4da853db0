package report

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/plan"
)

// samplePlan is a plan for which 60,000 packets a second are too many.
func samplePlan() *plan.Result {
	p := &plan.Result{
		Goal: plan.Goal{Clients: 50_000, PacketsPerSecond: 100_000, Active: 0.1,
			P99: 20 * time.Millisecond, LoginsWithin: time.Minute},
		Workload: loadgen.Workload{Name: "pairs"}, Took: 58 * time.Second, Budget: time.Minute,
		Throughput: plan.Knee{Rate: 60_000, Above: 80_000, Why: "80,000 lost packets"},
		Latency:    plan.Knee{Rate: 50_000, AtLeast: true, Why: "no higher rate was tried"},
		Beyond:     &plan.Beyond{Rate: 80_000, Delivered: 41_000, Kind: "falls"},
		Planned: plan.Planned{Rate: 40_000, P99: 6 * time.Millisecond, Seen: 4 * time.Millisecond,
			Spread: 0.12, Repeats: 3, Verified: true, VerifiedFor: 10 * time.Second,
			Why: "0.8 of the knee of latency"},
		Memory: &plan.Memory{Clients: 2000, UserClient: 6300, KernelClient: 9100, Base: 8e6},
		Logins: plan.Logins{Clients: 2000, Wanted: 2000, PerSecond: 1600, Planned: 1900,
			Extrapolated: true, Why: "by 526 µs of processor time each"},
		CorePackets: 52_000,
		Hosts: plan.Hosts{Count: 3, Clients: 16_667, Packets: 33_333, Binding: plan.Packets,
			Needs: []plan.Need{
				{Constraint: plan.Packets, PerHost: 40_000, Hosts: 3, Rests: "the planned load"},
				{Constraint: plan.MemoryBytes, PerHost: 1_400_000, Hosts: 1, AtMost: true,
					Rests: "15.4 kB a client"}}},
		Advice: []plan.Advice{{Line: "LimitNOFILE=32768", Why: "16,667 clients and as many again " +
			"while all log in anew after a cut need more than the 20,000 descriptors that are " +
			"allowed now"}},
		Breaks: "the relay's processor", Notes: []string{"the machine was busy for 2 % of the time"},
	}
	for i, rate := range []float64{20_000, 40_000, 80_000, 60_000, 50_000, 40_000} {
		slow := time.Duration(rate / 10_000)
		row := plan.Row{At: time.Duration(10+8*i) * time.Second, Purpose: plan.Growth, Rate: rate,
			Window: 5 * time.Second, Due: rate, Delivered: min(rate, 61_000),
			P50: 50 * time.Microsecond * slow, P99: time.Millisecond * slow * slow / 3,
			P999: 3 * time.Millisecond * slow, CPUMicros: 9.5 - rate/20_000, Idle: 0.5,
			Carried: rate < 80_000, Within: rate < 60_000}
		p.Steps = append(p.Steps, row)
	}
	p.Steps[5].Purpose = plan.Verify
	return p
}

func TestPlanForPeople(t *testing.T) {
	p := samplePlan()
	r := sample(0)
	r.Kind, r.Ramp = Plan, nil
	var err error
	if r.Plan, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	more := PlanSections(p)
	golden(t, "planned.txt", text(t, r, more...))
	page := page1(t, r, more...)
	if n := strings.Count(page, "<svg "); n != 4 {
		t.Errorf("%d plots", n)
	}
	for _, want := range []string{">planned</text>", ">bound of p99</text>", ">extrapolated</text>",
		`aria-label="Memory over clients"`, `aria-label="Throughput over time"`, "LimitNOFILE=32768"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	if path := os.Getenv("REPORT_PAGE"); path != "" {
		if err := os.WriteFile(path+".plan.html", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A plan that was stopped at once has nothing to show, and is shown.
func TestPlanOfNothing(t *testing.T) {
	p := &plan.Result{Partial: true}
	r := &Report{Kind: Plan, Plan: json.RawMessage("{}"), Partial: true}
	golden(t, "unplanned.txt", text(t, r, PlanSections(p)...))
	if page := page1(t, r, PlanSections(p)...); strings.Contains(page, "<svg ") {
		t.Error("a plot of nothing")
	}
}
