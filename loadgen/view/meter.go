package view

import (
	"math"
	"strings"
	"time"
)

// meter is how fast a count grows, over the last moments.
type meter struct {
	at []time.Time
	n  []float64
}

// add takes a look at the count. One that is below the last begins anew.
func (m *meter) add(at time.Time, n float64) {
	if len(m.n) > 0 && n < m.n[len(m.n)-1] {
		m.at, m.n = nil, nil
	}
	m.at, m.n = append(m.at, at), append(m.n, n)
	for len(m.at) > 2 && at.Sub(m.at[1]) >= meterWindow {
		m.at, m.n = m.at[1:], m.n[1:]
	}
}

// grown is by how much the count grew over which time.
func (m *meter) grown() (n float64, over time.Duration) {
	if len(m.n) == 0 {
		return 0, 0
	}
	last := len(m.n) - 1
	return m.n[last] - m.n[0], m.at[last].Sub(m.at[0])
}

// perSecond is 0 until there are two looks.
func (m *meter) perSecond() float64 {
	n, over := m.grown()
	if over <= 0 {
		return 0
	}
	return n / over.Seconds()
}

// series are the values of the last minute, a sample each time the screen is drawn.
type series struct{ values []float64 }

func (s *series) add(v float64) {
	s.values = append(s.values, v)
	if extra := len(s.values) - historySamples; extra > 0 {
		s.values = s.values[extra:]
	}
}

// seconds are the values by the second, each the larger of its two, the newest last. It returns at
// most n of them.
func (s *series) seconds(n int) (list []float64) {
	const each = int(time.Second / frameEvery)
	for end := len(s.values); end > 0 && len(list) < n; end -= each {
		v := math.Inf(-1)
		for _, x := range s.values[max(end-each, 0):end] {
			v = max(v, x)
		}
		list = append([]float64{v}, list...)
	}
	return list
}

// spark draws values from 0 to the largest of them as bars of eighths, aligned right in a number of
// columns.
func spark(values []float64, columns int) string {
	const bars = "▁▂▃▄▅▆▇█"
	const each = len("▁")
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(columns-len(values), 0)))
	for _, v := range values[max(len(values)-columns, 0):] {
		i := 0
		if v > 0 {
			i = min(int(v/top*8), 7)
		}
		b.WriteString(bars[i*each : (i+1)*each])
	}
	return b.String()
}
