package fleet

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"derpd/loadgen"
)

// PartsFor returns how many processes it takes to hold that many clients, each with one
// descriptor, if a process may open rlimit descriptors (RLIMIT_NOFILE, the soft one after it was
// raised) and needs reserve of them for itself (see Reserve). It is at least 1; 0 if the limit
// leaves no room for any client, in which case it has to be raised (ulimit -n).
func PartsFor(clients int, rlimit uint64, reserve int) int {
	if rlimit <= uint64(reserve) {
		return 0
	}
	each := rlimit - uint64(reserve)
	n := uint64(max(clients, 1))
	return int((n-1)/each + 1)
}

// Split divides a job for that many processes. Each pair of sender and receiver stays whole
// within a part: a receiver goes to a part with all of its senders, so an incast into one
// receiver is not divided at all. Parts are as equal in clients as that allows, and idle clients
// fill up the shorter ones. A part lacks the groups of which it has nobody.
//
// Rates and shares follow the senders, those of a churn the idle clients, of STUN the sockets and
// of the ramp all clients. Sums over the parts are exact, in floating point too, but for
// LoginsAt, which is at least 1 each. Cut.Share is a share of each part's own idle clients.
//
// Parts but the first get a seed of their own, since clients of equal keys would push each other
// out. They get no Varz and PID: the relay must be read once, by the parent.
func Split(job loadgen.Job, parts int) []loadgen.Job {
	jobs := make([]loadgen.Job, parts)
	d := division{clients: make([]int, parts)}
	for i := range jobs {
		jobs[i] = job
		jobs[i].Options.Part, jobs[i].Options.Parts = i, parts
		jobs[i].Options.Seed = partSeed(job.Options.Seed, i)
		jobs[i].Workload.Groups = nil
		jobs[i].Targets = slices.Clone(job.Targets)
		for k := range jobs[i].Targets {
			jobs[i].Targets[k].Varz, jobs[i].Targets[k].PID = "", 0
		}
	}
	splitSTUN(jobs, job.Workload.STUN)
	for _, groups := range d.groups(job.Workload.Groups, parts) {
		for i, g := range groups {
			if g.Clients() > 0 {
				jobs[i].Workload.Groups = append(jobs[i].Workload.Groups, g)
			}
		}
	}
	idle := d.fill(job.Workload.Idle)
	for i := range jobs {
		jobs[i].Workload.Idle = idle[i]
	}
	splitChurn(jobs, job.Workload.Churn, idle)
	perSec := divideFloat(job.Options.PerSec, d.clients)
	logins := divide(uint64(job.Options.LoginsAt), d.clients)
	loops := divide(uint64(job.Options.Loops), slices.Repeat([]int{1}, parts))
	for i := range jobs {
		o := &jobs[i].Options
		o.PerSec = perSec[i]
		if job.Options.LoginsAt > 0 {
			o.LoginsAt = max(int(logins[i]), 1)
		}
		if job.Options.Loops > 0 {
			o.Loops = max(int(loops[i]), 1)
		}
	}
	return jobs
}

// partSeed spreads a seed over the parts with the finalizer of SplitMix64; the first keeps it.
func partSeed(seed uint64, part int) uint64 {
	z := uint64(part) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return seed ^ z ^ z>>31
}

// division is how many clients each part has so far.
type division struct{ clients []int }

// shortest is the part with the fewest clients; the first of several.
func (d *division) shortest() int { return slices.Index(d.clients, slices.Min(d.clients)) }

// groups divides all groups; the result is by group, then by part. A receiver with its senders is
// a star. The groups of the largest stars go first, for small ones can fill what they leave.
func (d *division) groups(groups []loadgen.Group, parts int) [][]loadgen.Group {
	divided := make([][]loadgen.Group, len(groups))
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	star := func(i int) int { return groups[i].Senders / max(groups[i].Receivers, 1) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(star(b), star(a)) })
	for _, i := range order {
		divided[i] = d.group(groups[i], parts)
	}
	return divided
}

// group gives each star to the part that is the shortest then. Stars differ by one sender at most,
// and within a part sender i modulo receivers makes the same numbers of the same sizes again.
func (d *division) group(g loadgen.Group, parts int) []loadgen.Group {
	out := slices.Repeat([]loadgen.Group{g}, parts)
	for i := range out {
		out[i].Senders, out[i].Receivers = 0, 0
	}
	if g.Receivers == 0 { // senders to nobody: not a workload, but not ours to refuse
		out[d.shortest()] = g
		return out
	}
	for r := range g.Receivers {
		senders := g.Senders / g.Receivers
		if r < g.Senders%g.Receivers {
			senders++
		}
		part := d.shortest()
		out[part].Senders += senders
		out[part].Receivers++
		d.clients[part] += senders + 1
	}
	weights := make([]int, parts)
	for i := range out {
		weights[i] = sending(&out[i])
	}
	shares, rates := divideFloat(g.Share, weights), divideFloat(g.Rate, weights)
	for i := range out {
		out[i].Share, out[i].Rate = shares[i], rates[i]
	}
	return out
}

// sending is how many clients of a group have packets due. A receiver without senders has nobody
// to answer.
func sending(g *loadgen.Group) int {
	if g.BothWays {
		return g.Senders + min(g.Senders, g.Receivers)
	}
	return g.Senders
}

// fill gives n clients to the shortest parts, until all are level.
func (d *division) fill(n int) []int {
	order := make([]int, len(d.clients))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(d.clients[a], d.clients[b])
	})
	// Only the first k parts get some: those that the level of all clients in them exceeds.
	k, sum := 0, n
	for k < len(order) && sum+d.clients[order[k]] >= (k+1)*d.clients[order[k]] {
		sum += d.clients[order[k]]
		k++
	}
	given := make([]int, len(d.clients))
	for i, part := range order[:k] {
		level := sum / k
		if i < sum%k {
			level++
		}
		// The level was checked against the fullest of the k parts rounded down.
		given[part] = level - d.clients[part]
		d.clients[part] = level
	}
	return given
}

func splitSTUN(jobs []loadgen.Job, s *loadgen.STUN) {
	if s == nil {
		return
	}
	sockets := divide(uint64(s.Sockets), slices.Repeat([]int{1}, len(jobs)))
	weights := make([]int, len(jobs))
	for i := range weights {
		weights[i] = int(sockets[i])
	}
	shares, rates := divideFloat(s.Share, weights), divideFloat(s.Rate, weights)
	for i := range jobs {
		jobs[i].Workload.STUN = nil
		if weights[i] > 0 || s.Sockets == 0 && i == 0 {
			jobs[i].Workload.STUN = &loadgen.STUN{Port: s.Port, Share: shares[i], Rate: rates[i],
				Sockets: weights[i]}
		}
	}
}

func splitChurn(jobs []loadgen.Job, c *loadgen.Churn, idle []int) {
	if c == nil {
		return
	}
	perSecond := divideFloat(c.PerSecond, idle)
	for i := range jobs {
		jobs[i].Workload.Churn = nil
		if perSecond[i] > 0 {
			jobs[i].Workload.Churn = &loadgen.Churn{PerSecond: perSecond[i]}
		}
	}
}

// divide divides n in proportion to the weights, each part's rounded up or down so that the sum
// is n. If there is no weight at all the first part gets it whole.
func divide(n uint64, weights []int) []uint64 {
	parts := make([]uint64, len(weights))
	var all uint64
	for _, w := range weights {
		all += uint64(w)
	}
	if all == 0 {
		parts[0] = n
		return parts
	}
	var seen, given uint64
	for i, w := range weights {
		seen += uint64(w)
		hi, lo := bits.Mul64(n, seen)
		upTo, _ := bits.Div64(hi, lo, all) // seen <= all, so it fits
		parts[i] = upTo - given
		given = upTo
	}
	return parts
}

// divideFloat is divide for a rate of 0 or more. It divides the mantissa, so that every partial
// sum of the parts is a float64 without rounding.
func divideFloat(x float64, weights []int) []float64 {
	parts := make([]float64, len(weights))
	const mantissa = 53
	fraction, exponent := math.Frexp(x)
	for i, n := range divide(uint64(math.Ldexp(fraction, mantissa)), weights) {
		parts[i] = math.Ldexp(float64(n), exponent-mantissa)
	}
	return parts
}
