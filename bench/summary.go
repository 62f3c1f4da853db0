package bench

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Summary is the median of samples and how sure it is.
type Summary struct {
	Median float64
	// Lo and Hi enclose the median with a confidence of at least 93 % if Sure, which takes five
	// samples; with fewer they are the least and the largest.
	Lo, Hi float64
	Sure   bool
	N      int // samples; 0: nothing is known
}

// Summarise returns the median and its interval, as benchstat would: nothing is assumed of how
// samples are distributed.
func Summarise(samples []float64) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	s := benchmath.AssumeNothing.Summary(Sample(samples), confidence)
	sum := Summary{Median: s.Center, Lo: s.Lo, Hi: s.Hi, Sure: true, N: len(samples)}
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		sum.Lo, sum.Hi, sum.Sure = slices.Min(samples), slices.Max(samples), false
	}
	return sum
}

// Sample is samples as benchmath wants them.
func Sample(samples []float64) *benchmath.Sample {
	// It sorts what it is given.
	return benchmath.NewSample(append([]float64(nil), samples...), &benchmath.DefaultThresholds)
}

// Known tells whether there is a figure at all.
func (s Summary) Known() bool { return s.N > 0 }

// Spread is half of the interval as a share of the median; 0 for a median of 0.
func (s Summary) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.Hi - s.Lo) / 2 / math.Abs(s.Median)
}

// Summary summarises the figure; a nil one is not known.
func (f *Figure) Summary() Summary {
	if f == nil {
		return Summary{}
	}
	return Summarise(f.Samples)
}

// Ratio summarises f as a multiple of the reference's figure. The peers take turns, so that a round
// of both met the same machine: ratios are taken within rounds.
func Ratio(f, reference *Figure) Summary { return Summarise(Ratios(f, reference)) }

// Ratios are the multiples in the rounds that both have.
func Ratios(f, reference *Figure) (ratios []float64) {
	if f == nil || reference == nil {
		return nil
	}
	for i, round := range f.Rounds {
		for k, other := range reference.Rounds {
			if round == other && reference.Samples[k] != 0 {
				ratios = append(ratios, f.Samples[i]/reference.Samples[k])
			}
		}
	}
	return ratios
}
