package report

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// times fills a histogram with n times around a median, with a long tail; the same for each seed.
func times(seed uint64, n int, median time.Duration) *loadgen.Hist {
	key := [3]int64{int64(seed), int64(n), int64(median)}
	if h := made[key]; h != nil {
		return h.Clone()
	}
	r := rand.New(rand.NewPCG(seed, 1))
	h := loadgen.NewHist()
	for range n {
		d := float64(median) * (0.8 + 0.4*r.Float64())
		if r.Float64() < 0.02 {
			d *= 1 + 20*r.ExpFloat64()
		}
		h.Record(time.Duration(d))
	}
	made[key] = h.Clone()
	return h
}

// made are the histograms made before: the race detector makes that slow.
var made = map[[3]int64]*loadgen.Hist{}

// sample is a report of a run with a number of steps, each of a higher rate, in which all is well.
func sample(steps int) *Report {
	r := &Report{Format: Format, Kind: Run,
		Time:    time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Command: "loadgen run -workload chatter -clients 2000 -rate 20000 https://127.0.0.1:3340",
		Version: "1.2.3",
		Host:    "bench-1",
		Machine: host.Machine{CPU: "AMD EPYC 9B14", CPUs: 2, Kernel: "6.18.1", Memory: 24 << 30},
		Job: loadgen.Job{
			Targets: []loadgen.Target{{Addr: netip.MustParseAddrPort("127.0.0.1:3340"),
				Host: "derp.example.com", Varz: "http://127.0.0.1:3341/debug/varz", PID: 4242}},
			Workload: loadgen.Workload{Name: "chatter", Idle: 1800, Groups: []loadgen.Group{
				{Name: "talkers", Senders: 90, Receivers: 90, Share: 0.9,
					Sizes: []loadgen.Size{{Bytes: 570, Weight: 1}}},
				{Name: "disco", Senders: 10, Receivers: 10, Share: 0.1,
					Sizes: []loadgen.Size{{Bytes: 100, Weight: 1, Disco: true}}},
			}},
		},
		Ramp: &loadgen.RampResult{Clients: 2000, Wanted: 2000, Took: 1250 * time.Millisecond,
			Login: times(9, 2000, 3*time.Millisecond), Processes: 1,
			KernelBytes: 16_000_000,
			Relays: []loadgen.RelayUse{{PID: 4242, RSSBytes: 12_600_000, GrewBytes: 10_400_000,
				CPU: loadgen.CPU{User: 900 * time.Millisecond, System: 300 * time.Millisecond}}}},
	}
	for i := range steps {
		r.Steps = append(r.Steps, sampleStep(r.Time, i))
	}
	Judge(r)
	return r
}

// sampleStep is the i-th step: 20,000 packets a second, and 20,000 more each time.
func sampleStep(began time.Time, i int) *loadgen.StepResult {
	window := 30 * time.Second
	rate := 20_000 * (i + 1)
	packets := uint64(rate) * 30
	slower := time.Duration(1 + i*i)
	s := &loadgen.StepResult{
		Step: loadgen.Step{Rate: float64(rate), Warm: 5 * time.Second, Window: window,
			Drain: 10 * time.Second},
		Began:  began.Add(time.Duration(10+60*i) * time.Second),
		Window: window,
		Groups: []loadgen.GroupResult{
			{Name: "talkers", Due: packets / 10 * 9, Sent: packets / 10 * 9,
				Delivered: packets/10*9 - 90, SentBytes: packets / 10 * 9 * 570,
				Bytes:   (packets/10*9 - 90) * 570,
				Latency: times(1, 5000, 90*time.Microsecond*slower)},
			{Name: "disco", Due: packets / 10, Sent: packets / 10, Delivered: packets/10 - 10,
				SentBytes: packets / 10 * 100, Bytes: (packets/10 - 10) * 100,
				Latency: times(2, 5000, 70*time.Microsecond*slower)},
		},
		Books: loadgen.Books{Due: packets * 7 / 6, NotAccepted: 25, Sent: packets*7/6 - 25,
			Delivered: packets*7/6 - 25 - 112, InFlight: 2,
			Dropped: map[string]uint64{"queue_head": 100, "gone": 10}, DroppedKnown: true},
		Slack: loadgen.Slack{Idle: 0.62, Loops: 1, BusyNanosPerPacket: 2100,
			Lag: times(3, 5000, 12*time.Microsecond),
			CPU: loadgen.CPU{User: 600 * time.Millisecond, System: 1300 * time.Millisecond}},
		Clients: 2000, Asked: 2000, Answered: 2000, Processes: 1,
		Relays: []loadgen.RelayUse{{PID: 4242, RSSBytes: 13_100_000, CPU: loadgen.CPU{
			User: 1900 * time.Millisecond, System: 4500 * time.Millisecond}}},
		Notes: map[string]string{"fast start": "accepted by the relay"},
	}
	noise := rand.New(rand.NewPCG(4, uint64(i)))
	for sec := range 30 {
		n := uint64(float64(rate) * (0.97 + 0.06*noise.Float64()))
		s.Series = append(s.Series, loadgen.Sample{At: time.Duration(sec+1) * time.Second,
			Due: uint64(rate), Sent: n, Delivered: n - 3, Clients: 2000,
			P50: time.Duration(85+10*noise.Float64()) * time.Microsecond * slower,
			P99: time.Duration(900+300*noise.Float64()) * time.Microsecond * slower})
	}
	return s
}
