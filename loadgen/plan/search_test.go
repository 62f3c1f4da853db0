package plan

import (
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// asked makes a search with steps at given rates, each passing or not.
func asked(rows ...Row) *run {
	return &run{Planner: &Planner{}, clients: 100, res: &Result{Budget: budgetDefault, Steps: rows,
		Goal: Goal{P99: 5 * time.Millisecond}}}
}

func ok(rate float64) Row {
	return Row{Rate: rate, Carried: true, Within: true, Idle: 0.5}
}

func bad(rate float64) Row { return Row{Rate: rate} }

func TestBracket(t *testing.T) {
	disturbed := bad(200)
	disturbed.Interference = host.Interference{Steal: 0.1, Other: 0.2}
	busy := bad(200)
	busy.Limited = "its loops were never idle"
	spent := ok(200) // nothing was left to the generator, and yet the relay delivered in time
	spent.Idle = 0
	late := ok(200) // the generator wrote late, but not by so much that the bound was missed
	late.Limited = "1 % of the packets were written 3ms late"
	for name, c := range map[string]struct {
		rows      []Row
		low, high float64
	}{
		"nothing":            {nil, 0, 0},
		"only failures":      {[]Row{bad(200), bad(100)}, 0, 100},
		"only passes":        {[]Row{ok(100), ok(200)}, 200, 0},
		"between":            {[]Row{ok(100), bad(400), ok(200)}, 200, 400},
		"one bad below":      {[]Row{bad(100), ok(200), bad(400)}, 200, 400},
		"luck":               {[]Row{ok(100), bad(200), bad(200), ok(400)}, 100, 200},
		"no luck":            {[]Row{ok(100), bad(200), bad(200), ok(400), ok(400)}, 400, 0},
		"two of three":       {[]Row{ok(100), bad(200), ok(200), ok(200)}, 200, 0},
		"one of three":       {[]Row{ok(100), bad(200), ok(200), bad(200)}, 100, 200},
		"one of two":         {[]Row{ok(100), bad(200), ok(200)}, 100, 200},
		"disturbed":          {[]Row{disturbed, disturbed, ok(200), bad(400)}, 200, 400},
		"always disturbed":   {[]Row{ok(100), disturbed, disturbed, disturbed, disturbed}, 100, 200},
		"limited":            {[]Row{ok(100), busy, busy}, 100, 200},
		"held, late a bit":   {[]Row{ok(100), late, late}, 200, 0},
		"held, not to spare": {[]Row{ok(100), spent, spent}, 100, 200},
	} {
		r := asked(c.rows...)
		if low, high := r.bracket(r.latency()); low != c.low || high != c.high {
			t.Errorf("%s: %g to %g, want %g to %g", name, low, high, c.low, c.high)
		}
	}
	r := asked(ok(100), busy, bad(200))
	if o, settled := r.ask(r.latency(), 200); o != limited || !settled {
		t.Errorf("one limited, one failed: %v, %v", o, settled)
	}
	if k := r.knee(r.latency(), "held"); !k.AtLeast || k.Rate != 100 ||
		!strings.Contains(k.Why, "no time to be sure") {
		t.Errorf("a knee below a limited step: %+v", k)
	}
	r = asked(ok(100), ok(100), bad(200), bad(200))
	if k := r.knee(r.latency(), "held"); k.AtLeast || strings.Contains(k.Why, "no time") {
		t.Errorf("a knee between steps that agree: %+v", k)
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		row             Row
		late            bool
		carried, within bool
	}{
		"all":      {row: Row{Delivered: 1000, P99: time.Millisecond}, carried: true, within: true},
		"late":     {row: Row{Delivered: 1000, P99: time.Second}, carried: true},
		"edge":     {row: Row{Delivered: 997.5, P99: time.Millisecond}, carried: true, within: true},
		"short":    {row: Row{Delivered: 996, P99: time.Millisecond}},
		"nothing":  {row: Row{P99: time.Millisecond}},
		"some out": {row: Row{Delivered: 1000, P99: time.Millisecond, Clients: 99}, carried: true, within: true},
		"many out": {row: Row{Delivered: 1000, P99: time.Millisecond, Clients: 98}},
		"too long": {row: Row{Delivered: 1000, P99: time.Millisecond}, late: true},
	} {
		row := c.row
		row.Rate, row.Due, row.Window = 1000, 1000, time.Second
		if row.Clients == 0 {
			row.Clients = 100
		}
		asked().judge(&row, &loadgen.StepResult{}, c.late)
		if row.Carried != c.carried || row.Within != c.within ||
			(row.Lost != "") != (name == "many out" || name == "too long") {
			t.Errorf("%s: %+v", name, row)
		}
	}
}

// Groups that send as fast as they can, or whose receivers are slow on purpose, are not counted.
func TestCountedGroups(t *testing.T) {
	w := loadgen.Workload{Groups: []loadgen.Group{{Name: "talk", Share: 1}, {Name: "fixed", Rate: 1},
		{Name: "flood"}, {Name: "slow", Share: 1, Reading: loadgen.Reading{Never: true}}}}
	res := &loadgen.StepResult{Window: 2 * time.Second, Groups: []loadgen.GroupResult{
		{Name: "talk", Due: 100, Delivered: 90}, {Name: "fixed", Due: 10, Delivered: 10},
		{Name: "flood", Due: 9999, Delivered: 1}, {Name: "slow", Due: 9999}}}
	var row Row
	row.fill(res, counted(&w))
	if row.Due != 55 || row.Delivered != 50 {
		t.Errorf("due %g, delivered %g a second", row.Due, row.Delivered)
	}
}
