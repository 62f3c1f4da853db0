package fleet

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"derpd/loadgen"
)

func TestPartsFor(t *testing.T) {
	for _, tt := range []struct {
		clients int
		rlimit  uint64
		reserve int
		want    int
	}{
		{100_000, 20_000, 256, 6},
		{19_744, 20_000, 256, 1},
		{19_745, 20_000, 256, 2},
		{0, 20_000, 256, 1},
		{-5, 20_000, 256, 1},
		{1, 257, 256, 1},
		{2, 257, 256, 2},
		{1, 256, 256, 0},
		{1, 0, 0, 0},
		{math.MaxInt, math.MaxUint64, 256, 1},
		{1_000_000, math.MaxUint64, 0, 1},
	} {
		if got := PartsFor(tt.clients, tt.rlimit, tt.reserve); got != tt.want {
			t.Errorf("%d clients of %d descriptors: %d parts, want %d", tt.clients, tt.rlimit, got,
				tt.want)
		}
	}
}

// stars counts, for each receiver of a group, the senders that send to it.
func stars(g loadgen.Group) []int {
	n := make([]int, g.Receivers)
	for i := range g.Senders {
		n[i%g.Receivers]++
	}
	return n
}

func randomJob(r *rand.Rand) loadgen.Job {
	job := loadgen.Job{
		Targets: []loadgen.Target{{Host: "h", Varz: "http://x/debug/varz", PID: 7}},
		Options: loadgen.Options{Seed: r.Uint64(), LoginsAt: r.IntN(300), PerSec: r.ExpFloat64(),
			Loops: r.IntN(9), LoginFor: time.Second},
	}
	w := &job.Workload
	w.Name, w.Idle = "random", r.IntN(1000)
	for i := range r.IntN(4) {
		g := loadgen.Group{Name: string(rune('a' + i)), Senders: 1 + r.IntN(200),
			Receivers: 1 + r.IntN(200), BothWays: r.IntN(2) == 0}
		switch r.IntN(4) {
		case 0:
			g.Receivers = 1
		case 1:
			g.Receivers = g.Senders
		}
		switch r.IntN(3) {
		case 0:
			g.Share = r.Float64()
		case 1:
			g.Rate = math.Exp(20 * r.NormFloat64())
		}
		w.Groups = append(w.Groups, g)
	}
	if r.IntN(2) == 0 {
		w.Churn = &loadgen.Churn{PerSecond: 1000 * r.Float64()}
	}
	if r.IntN(2) == 0 {
		w.STUN = &loadgen.STUN{Port: 3478, Sockets: r.IntN(20), Rate: 1e5 * r.Float64(),
			Share: r.Float64()}
	}
	if r.IntN(2) == 0 {
		w.Cut = &loadgen.Cut{Share: 0.5}
	}
	return job
}

// Whatever the job: nobody is lost, no pair is torn, rates add up to the last bit and in any order.
func TestSplitLosesNothing(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		job := randomJob(r)
		parts := 1 + r.IntN(12)
		jobs := Split(job, parts)
		if len(jobs) != parts {
			t.Fatalf("seed %d: %d parts, want %d", seed, len(jobs), parts)
		}
		r.Shuffle(parts, func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
		checkSums(t, seed, job, jobs)
		checkGroups(t, seed, job, jobs)
		checkLevel(t, seed, job, jobs)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, job)
		}
	}
}

func checkSums(t *testing.T, seed uint64, job loadgen.Job, jobs []loadgen.Job) {
	t.Helper()
	var idle, clients, logins, raised, sockets int
	var perSec, churn, stunRate, stunShare float64
	seen := map[int]bool{}
	seeds := map[uint64]bool{}
	for _, j := range jobs {
		idle += j.Workload.Idle
		clients += j.Workload.Clients()
		logins += j.Options.LoginsAt
		if j.Options.LoginsAt == 1 {
			raised++
		}
		perSec += j.Options.PerSec
		if c := j.Workload.Churn; c != nil {
			churn += c.PerSecond
		}
		if s := j.Workload.STUN; s != nil {
			sockets += s.Sockets
			stunRate += s.Rate
			stunShare += s.Share
		}
		seen[j.Options.Part] = j.Options.Parts == len(jobs)
		seeds[j.Options.Seed] = true
		if j.Options.LoginFor != job.Options.LoginFor || j.Workload.Name != job.Workload.Name ||
			j.Workload.Cut != job.Workload.Cut || len(j.Targets) != 1 || j.Targets[0].Host != "h" ||
			j.Targets[0].Varz != "" || j.Targets[0].PID != 0 {
			t.Errorf("seed %d: part %+v", seed, j)
		}
		if job.Options.LoginsAt > 0 && j.Options.LoginsAt < 1 ||
			(job.Options.Loops > 0) != (j.Options.Loops > 0) {
			t.Errorf("seed %d: a part of %+v", seed, j.Options)
		}
	}
	if job.Targets[0].PID != 7 {
		t.Errorf("seed %d: the job itself was changed", seed)
	}
	if idle != job.Workload.Idle || clients != job.Workload.Clients() || perSec != job.Options.PerSec {
		t.Errorf("seed %d: %d idle, %d clients, %v logins a second", seed, idle, clients, perSec)
	}
	if logins < job.Options.LoginsAt || logins > job.Options.LoginsAt+raised {
		t.Errorf("seed %d: %d logins at once", seed, logins)
	}
	if c := job.Workload.Churn; c != nil && churn != c.PerSecond {
		t.Errorf("seed %d: churn of %v", seed, churn)
	}
	if s := job.Workload.STUN; s != nil &&
		(sockets != s.Sockets || stunRate != s.Rate || stunShare != s.Share) {
		t.Errorf("seed %d: STUN of %d, %v, %v", seed, sockets, stunRate, stunShare)
	}
	if len(seen) != len(jobs) || len(seeds) != len(jobs) {
		t.Errorf("seed %d: parts %v, %d seeds", seed, seen, len(seeds))
	}
}

func checkGroups(t *testing.T, seed uint64, job loadgen.Job, jobs []loadgen.Job) {
	t.Helper()
	for _, g := range job.Workload.Groups {
		var all []int
		var share, rate float64
		perSender := -1.0
		for _, j := range jobs {
			i := slices.IndexFunc(j.Workload.Groups, func(p loadgen.Group) bool { return p.Name == g.Name })
			if i < 0 {
				continue
			}
			p := j.Workload.Groups[i]
			all = append(all, stars(p)...)
			share += p.Share
			rate += p.Rate
			if p.BothWays != g.BothWays || p.Senders > 0 && p.FullSpeed() != g.FullSpeed() {
				t.Errorf("seed %d: a part of %+v is %+v", seed, g, p)
			}
			n := p.Senders
			if p.BothWays { // those who are sent something answer
				n += len(slices.DeleteFunc(stars(p), func(senders int) bool { return senders == 0 }))
			}
			if n > 0 && g.Rate > 0 {
				each := p.Rate / float64(n)
				if perSender >= 0 && math.Abs(each/perSender-1) > 1e-9 {
					t.Errorf("seed %d: a sender's rate is %v and %v", seed, each, perSender)
				}
				perSender = each
			}
		}
		want := stars(g)
		slices.Sort(all)
		slices.Sort(want)
		if !slices.Equal(all, want) {
			t.Errorf("seed %d: receivers of %+v have %v senders, want %v", seed, g, all, want)
		}
		if share != g.Share || rate != g.Rate {
			t.Errorf("seed %d: %+v has share %v and rate %v in all", seed, g, share, rate)
		}
	}
}

// checkLevel: no part has more clients than the mean, but where a star cannot be divided.
func checkLevel(t *testing.T, seed uint64, job loadgen.Job, jobs []loadgen.Job) {
	t.Helper()
	star := 1
	for _, g := range job.Workload.Groups {
		star = max(star, slices.Max(stars(g))+1)
	}
	mean := job.Workload.Clients() / len(jobs)
	for _, j := range jobs {
		if n := j.Workload.Clients(); n > mean+star {
			t.Errorf("seed %d: a part has %d clients, the mean is %d and the largest star %d", seed, n,
				mean, star)
		}
	}
}

func TestSplitIncastWhole(t *testing.T) {
	job := loadgen.Job{Workload: loadgen.Workload{Idle: 170, Groups: []loadgen.Group{
		{Name: "pairs", Senders: 40, Receivers: 40, Rate: 40},
		{Name: "incast", Senders: 50, Receivers: 1, Rate: 10}}}}
	jobs := Split(job, 3)
	incasts := 0
	for _, j := range jobs {
		if n := j.Workload.Clients(); n < 100 || n > 101 {
			t.Errorf("a part of %d clients: %+v", n, j.Workload)
		}
		for _, g := range j.Workload.Groups {
			if g.Name == "incast" {
				incasts++
				if g.Senders != 50 || g.Receivers != 1 || g.Rate != 10 {
					t.Errorf("the incast became %+v", g)
				}
			} else if g.Rate != float64(g.Senders) {
				t.Errorf("%d senders have rate %v", g.Senders, g.Rate)
			}
		}
	}
	if incasts != 1 {
		t.Errorf("%d incasts", incasts)
	}
}

// One part is the whole, but for what only the parent does.
func TestSplitInOne(t *testing.T) {
	job := randomJob(rand.New(rand.NewPCG(5, 5)))
	job.Workload.Groups = append(job.Workload.Groups, loadgen.Group{Name: "z", Senders: 2, Receivers: 1})
	want := job
	want.Options.Parts = 1
	want.Targets = []loadgen.Target{{Host: "h"}}
	if got := Split(job, 1)[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
