package bench

import (
	"context"
	"fmt"
	"time"
)

// OverloadOptions says who sends what and for how long.
type OverloadOptions struct {
	Pairs  int           `json:"pairs"`
	Size   int           `json:"size"` // payload bytes a frame
	Plain  bool          `json:"plain"`
	CPU    int           `json:"cpu"` // the relay's processor; negative: any
	Rounds int           `json:"rounds"`
	Ladder []float64     `json:"ladder"` // offered frames a second of all pairs, ascending
	Step   time.Duration `json:"step"`   // window of one rung, ns
	Flood  time.Duration `json:"flood"`  // window of sending as fast as writes go, ns
}

// OverloadForms are the frames a write that Overload compares: every frame travelling alone,
// and senders that gather.
var OverloadForms = []int{1, 8}

// OverloadResult is one relay in one form. Peak and Flood are medians over the rounds.
type OverloadResult struct {
	Peer   string   `json:"peer"`
	Error  string   `json:"error,omitempty"` // of a later round, if there are figures
	Frames int      `json:"frames_per_write"`
	Peak   float64  `json:"peak_per_s"` // most delivered on any rung
	Flood  Step     `json:"flood"`
	Ladder [][]Step `json:"ladder"` // by round
	Floods []Step   `json:"floods"` // by round
}

const (
	// rungDrop ends a ladder: a rung that delivers less than this share of the best so far
	// is past the peak.
	rungDrop = 0.7
	// rungReached ends it too: the senders cannot offer more.
	rungReached = 0.7
)

// Overload finds each peer's peak and then floods it, in turns. Errors as in Idle.
func Overload(ctx context.Context, peers []Peer, o OverloadOptions, say Say) (
	[]OverloadResult, error) {
	if err := checkFlow(o.Pairs, o.Size); err != nil {
		return nil, err
	}
	undo, err := takeMachine(o.CPU)
	if err != nil {
		return nil, err
	}
	defer undo()
	var all []OverloadResult
	for _, frames := range OverloadForms {
		for _, p := range peers {
			all = append(all, OverloadResult{Peer: p.Name, Frames: frames})
		}
	}
	for round := range o.Rounds {
		for i := range all {
			res := &all[i]
			if res.Error != "" {
				continue
			}
			p := peers[i%len(peers)]
			say("round %d of %d: %s, %d frames a write", round+1, o.Rounds, p.Name, res.Frames)
			if err := overloadPeer(ctx, p, o, res, say); err != nil {
				if ctx.Err() != nil {
					return all, ctx.Err()
				}
				res.Error = err.Error()
				say("%s: %v", p.Name, err)
			}
		}
	}
	for i := range all {
		all[i].summarise()
	}
	return all, nil
}

func (r *OverloadResult) summarise() {
	var peaks []float64
	for _, ladder := range r.Ladder {
		peaks = append(peaks, peak(ladder))
	}
	r.Peak, r.Flood = median(peaks), medianStep(r.Floods)
}

func peak(ladder []Step) (best float64) {
	for _, s := range ladder {
		best = max(best, s.Delivered)
	}
	return best
}

func overloadPeer(ctx context.Context, p Peer, o OverloadOptions, res *OverloadResult,
	say Say) error {
	return withFlow(ctx, p, o.Plain, o.CPU, o.Pairs, res.Frames, o.Size,
		func(r *relay, f *flow) error {
			var ladder []Step
			for _, rate := range o.Ladder {
				s, err := f.step(ctx, r.pid, rate, o.Step)
				if err != nil {
					return fmt.Errorf("at %.0f/s: %w", rate, err)
				}
				ladder = append(ladder, s)
				say("  asked %7.0f/s: offered %7.0f, delivered %7.0f, %6.1f µs each",
					rate, s.Offered, s.Delivered, s.CPUMicros())
				if s.Delivered < rungDrop*peak(ladder) || s.Offered < rungReached*rate {
					break
				}
			}
			s, err := f.step(ctx, r.pid, 0, o.Flood)
			if err != nil {
				return fmt.Errorf("at full speed: %w", err)
			}
			say("  full speed:      offered %7.0f, delivered %7.0f, %6.1f µs each",
				s.Offered, s.Delivered, s.CPUMicros())
			res.Ladder = append(res.Ladder, ladder)
			res.Floods = append(res.Floods, s)
			return nil
		})
}

// withFlow runs do against a fresh relay with fresh pairs, and tells what the relay said if
// that fails.
func withFlow(ctx context.Context, p Peer, plain bool, cpu, pairs, frames, size int,
	do func(*relay, *flow) error) error {
	r, err := startRelay(ctx, p, plain, cpu)
	if err != nil {
		return err
	}
	defer r.stop()
	f, err := newFlow(ctx, &r.target, pairs, frames, size)
	if err != nil {
		return r.explain(err)
	}
	defer f.close()
	if err := do(r, f); err != nil {
		return r.explain(err)
	}
	return nil
}

// Verdict is one requirement of the judged peer.
type Verdict struct {
	Pass bool   `json:"pass"`
	Text string `json:"text"`
}

// Judge holds the first peer of an Overload run against its own peak and against the best
// that any other peer delivered in the same form, at whatever load.
func Judge(all []OverloadResult) []Verdict {
	var verdicts []Verdict
	for _, frames := range OverloadForms {
		var form []OverloadResult
		for _, r := range all {
			if r.Frames == frames {
				form = append(form, r)
			}
		}
		if len(form) == 0 {
			continue
		}
		got := form[0].Flood.Delivered
		limit := limitedBy(form[0].Flood)
		say := func(pass bool, format string, args ...any) {
			text := fmt.Sprintf("%s, %d a write: ", form[0].Peer, frames)
			verdicts = append(verdicts, Verdict{pass, text + fmt.Sprintf(format, args...)})
		}
		if len(form[0].Floods) == 0 {
			say(false, "no figures")
			continue
		}
		say(got >= form[0].Peak/2, "flooded it delivers %.0f/s; half of its peak is %.0f/s%s",
			got, form[0].Peak/2, limit)
		best, who := 0.0, "nobody"
		for _, r := range form[1:] {
			if b := max(r.Peak, r.Flood.Delivered); b > best {
				best, who = b, r.Peer
			}
		}
		if len(form) > 1 {
			say(best > 0 && got > best, "flooded it delivers %.0f/s; the best of the others "+
				"at any load is %.0f/s (%s)%s", got, best, who, limit)
		}
	}
	return verdicts
}

// limitedBy points out a flood that the relay could have gone beyond.
func limitedBy(s Step) string {
	const all, idle = 0.98, 0.95
	if s.Delivered < all*s.Offered || s.Busy > idle {
		return ""
	}
	return fmt.Sprintf("; it delivered all that was offered with %.2f processors: "+
		"the generator was the limit", s.Busy)
}
