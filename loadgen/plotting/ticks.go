package plotting

import (
	"math"

	"gonum.org/v1/plot"

	"derpd/loadgen/units"
)

func pow10(v float64) float64 { return math.Pow(10, v) }

// ticks is the ticker of an axis whose range is already rounded.
func (a *Axis) ticks(lo, hi float64) []plot.Tick {
	switch a.Scale {
	case Log:
		return a.logTicks(lo, hi)
	case Tail:
		return tailTicks(hi)
	default:
		return a.linearTicks(lo, hi)
	}
}

func (a *Axis) format(v float64) string {
	if a.Format == nil {
		return units.SI(v)
	}
	return a.Format(v)
}

// linearStep is the distance of three to seven ticks over a span: 1, 2 or 5 times a power of ten.
// The bounds are a little above what round makes of a range, so that it keeps its step.
func linearStep(span float64) float64 {
	step := pow10(math.Floor(math.Log10(span)))
	switch n := span / step; {
	case n < 1.61:
		return step / 5
	case n < 3.51:
		return step / 2
	case n < 7.01:
		return step
	default:
		return step * 2
	}
}

func (a *Axis) linearTicks(lo, hi float64) (ticks []plot.Tick) {
	step := linearStep(hi - lo)
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+step*1e-9; i++ {
		v := i*step + 0 // no negative zero
		ticks = append(ticks, plot.Tick{Value: v, Label: a.format(v)})
	}
	return ticks
}

func (a *Axis) logTicks(lo, hi float64) (ticks []plot.Tick) {
	few := math.Log10(hi/lo) <= decadesLabelled+1e-9
	for e := math.Floor(math.Log10(lo)); pow10(e) <= hi*(1+1e-9); e++ {
		for d := 1.0; d < 10; d++ {
			v := d * pow10(e)
			if v < lo*(1-1e-9) || v > hi*(1+1e-9) {
				continue
			}
			tick := plot.Tick{Value: v}
			if d == 1 || few && (d == 2 || d == 5) {
				tick.Label = a.format(v)
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}

// tailTicks labels 0 %, 50 %, 90 %, 99 % and so on.
func tailTicks(hi float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 1, Label: "0 %"}, {Value: 2, Label: "50 %"}}
	for x := 10.0; x <= hi*(1+1e-9); x *= 10 {
		ticks = append(ticks, plot.Tick{Value: x, Label: units.Digits(100*(1-1/x), 8) + " %"})
	}
	return ticks
}

// nearest is how near to each other, as a share, values are drawn as one: there is hardly room in a
// float64 for steps between them.
const nearest = 1e-9

// round widens a range so that it begins and ends at ticks, and has an extent.
func (a *Axis) round(lo, hi float64) (float64, float64) {
	switch a.Scale {
	case Log:
		return roundLog(lo, hi)
	case Tail:
		return 1, max(hi, 10)
	default:
		if a.Zero {
			lo, hi = min(lo, 0), max(hi, 0)
		}
		if hi-lo <= nearest*max(math.Abs(lo), math.Abs(hi)) {
			if lo == 0 {
				return 0, 1
			}
			lo, hi = min(lo, 0), max(hi, 0)
		}
		step := linearStep(hi - lo)
		return math.Floor(lo/step+1e-9) * step, math.Ceil(hi/step-1e-9) * step
	}
}

// roundLog widens to the next of 1, 2 and 5 times a power of ten on either side.
func roundLog(lo, hi float64) (float64, float64) {
	down, up := pow10(math.Floor(math.Log10(lo))), pow10(math.Floor(math.Log10(hi)))
	for _, m := range []float64{5, 2} {
		if m*down <= lo*(1+1e-9) {
			down *= m
			break
		}
	}
	for _, m := range []float64{1, 2, 5, 10} {
		if m*up >= hi*(1-1e-9) {
			up *= m
			break
		}
	}
	if down >= up*(1-1e-9) {
		return down / 2, up * 2
	}
	return down, up
}
