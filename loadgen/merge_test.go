package loadgen

import (
	"encoding/json"
	"maps"
	"reflect"
	"testing"
	"time"
)

func histOf(times ...time.Duration) *Hist {
	h := NewHist()
	for _, d := range times {
		h.Record(d)
	}
	return h
}

// asJSON compares by what a report would show; histograms have no other equality.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if g, w := asJSON(t, got), asJSON(t, want); g != w {
		t.Errorf("got %s\nwant %s", g, w)
	}
}

func TestMergeRamp(t *testing.T) {
	a := &RampResult{Clients: 3, Wanted: 4, Took: 2 * time.Second, Processes: 1, Why: "files",
		Failures: Failures{FailReset: {Count: 1, Example: "first"}}, Login: histOf(time.Millisecond),
		Relays: []RelayUse{{PID: 1}}}
	b := &RampResult{Clients: 5, Wanted: 9, Took: time.Second, Processes: 2, Why: "files",
		Failures: Failures{FailReset: {Count: 3, Example: "second"}, FailTLS: {Count: 1}},
		Login:    histOf(time.Second, time.Second), Partial: true}
	before := asJSON(t, []any{a, b})
	same(t, MergeRamp([]*RampResult{a, b, {Why: "more"}}), &RampResult{Clients: 8, Wanted: 13,
		Took: 2 * time.Second, Processes: 3, Why: "files; more", Partial: true,
		Failures: Failures{FailReset: {Count: 4, Example: "first"}, FailTLS: {Count: 1}},
		Login:    histOf(time.Millisecond, time.Second, time.Second), Relays: []RelayUse{{PID: 1}}})
	if after := asJSON(t, []any{a, b}); after != before {
		t.Errorf("the parts became %s\nfrom %s", after, before)
	}
	same(t, MergeRamp(nil), &RampResult{})
}

func stepParts() (a, b *StepResult) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a = &StepResult{Step: Step{Rate: 100, Warm: 1, Busy: true}, Began: began.Add(time.Second),
		Window: 10 * time.Second,
		Groups: []GroupResult{{Name: "x", Due: 10, Sent: 9, Delivered: 8, SentBytes: 90, Bytes: 80,
			Latency: histOf(time.Millisecond)}},
		Books: Books{Due: 20, NotAccepted: 2, Sent: 18, Delivered: 10, InFlight: 5},
		Wrong: Wrong{Key: 1, Order: 2, Content: 3, Twice: 4},
		Slack: Slack{Idle: 0.5, Loops: 3, BusyNanosPerPacket: 100, Lag: histOf(time.Microsecond),
			CPU: CPU{1, 2}, Limited: "late"},
		Series: []Sample{{At: 1, Due: 1, Sent: 2, Delivered: 30, P50: 10, P99: 20, Clients: 5},
			{At: 2, Due: 1, Sent: 1, Delivered: 0, P50: 0, P99: 0, Clients: 5}},
		Clients: 4, Answered: 3, Asked: 4, Logins: 7, Readmit: time.Second, Processes: 1,
		Failures: Failures{FailSilent: {Count: 1, Example: "no"}},
		Notes:    map[string]string{"n": "one", "m": "all"},
		Relays:   []RelayUse{{PID: 7}}}
	b = &StepResult{Step: Step{Rate: 50, Warm: 2}, Began: began, Window: 9 * time.Second,
		Partial: true,
		Groups: []GroupResult{{Name: "y", Due: 1}, {Name: "x", Due: 5, Sent: 4, Delivered: 24,
			SentBytes: 40, Bytes: 20, Latency: histOf(time.Second)}},
		Books: Books{Due: 7, Sent: 7, Delivered: 4, Dropped: map[string]uint64{"queue_head": 3},
			DroppedKnown: true},
		Wrong:  Wrong{Key: 1, Order: 1, Content: 1, Twice: 1},
		Slack:  Slack{Idle: 0.1, BusyNanosPerPacket: 200, CPU: CPU{10, 20}, Limited: "late"},
		Series: []Sample{{At: 1, Due: 1, Sent: 2, Delivered: 10, P50: 50, P99: 15, Clients: 2}},
		STUN: &STUNResult{Due: 4, Sent: 3, Answered: 2, Asked: 5, Lost: 1, Wrong: 1,
			Latency: histOf(time.Millisecond)},
		Logins: 1, Readmit: 2 * time.Second, Processes: 1, Clients: 2, Answered: 2, Asked: 2,
		Notes: map[string]string{"n": "two", "m": "all"}}
	return a, b
}

func TestMergeSteps(t *testing.T) {
	a, b := stepParts()
	before := asJSON(t, []any{a, b})
	want := &StepResult{Step: Step{Rate: 150, Warm: 1, Busy: true}, Began: b.Began,
		Window: 10 * time.Second, Partial: true,
		Groups: []GroupResult{{Name: "x", Due: 15, Sent: 13, Delivered: 32, SentBytes: 130,
			Bytes: 100, Latency: histOf(time.Millisecond, time.Second)}, {Name: "y", Due: 1}},
		Books: Books{Due: 27, NotAccepted: 2, Sent: 25, Delivered: 14, InFlight: 5,
			Dropped: map[string]uint64{"queue_head": 3}, DroppedKnown: true},
		Wrong: Wrong{2, 3, 4, 5},
		Slack: Slack{Idle: 0.4, Loops: 4, BusyNanosPerPacket: 175, Lag: histOf(time.Microsecond),
			CPU:     CPU{11, 22},
			Limited: "late; likewise in others (1)"},
		Series: []Sample{{At: 1, Due: 2, Sent: 4, Delivered: 40, P50: 20, P99: 20, Clients: 7},
			{At: 2, Due: 1, Sent: 1, Clients: 5}},
		Clients: 6, Answered: 5, Asked: 6, Logins: 8, Readmit: 2 * time.Second, Processes: 2,
		Failures: Failures{FailSilent: {Count: 1, Example: "no"}},
		STUN:     b.STUN, Relays: a.Relays,
		Notes: map[string]string{"n": "one; two", "m": "all"}}
	same(t, MergeSteps([]*StepResult{a, b}), want)
	if after := asJSON(t, []any{a, b}); after != before {
		t.Errorf("the parts became %s\nfrom %s", after, before)
	}
	same(t, MergeSteps(nil), &StepResult{})
}

// The books of a whole balance as those of its parts do, whoever goes first.
func TestMergeStepsInAnyOrder(t *testing.T) {
	a, b := stepParts()
	ab, ba := MergeSteps([]*StepResult{a, b}), MergeSteps([]*StepResult{b, a})
	unexplained := a.Books.Unexplained() + b.Books.Unexplained()
	if ab.Books.Unexplained() != unexplained || unexplained != 3 {
		t.Errorf("%d packets unexplained, of the parts %d", ab.Books.Unexplained(), unexplained)
	}
	if !reflect.DeepEqual(ab.Books, ba.Books) {
		t.Errorf("the books are %v and, the other way round, %v", ab.Books, ba.Books)
	}
	same(t, ab.Series, ba.Series)
	same(t, ab.Slack, ba.Slack)
	// Merging what is merged already is as merging all at once.
	abb := MergeSteps([]*StepResult{ab, b})
	same(t, abb.Books, MergeSteps([]*StepResult{a, b, b}).Books)
	if !maps.Equal(abb.Notes, map[string]string{"n": "one; two", "m": "all"}) {
		t.Errorf("notes %v", abb.Notes)
	}
}

// Every field of the results is merged: a new one that nobody thought of fails here.
func TestMergeForgetsNoField(t *testing.T) {
	one := &StepResult{}
	fill(reflect.ValueOf(one).Elem())
	one.Slack.Loops, one.Slack.Idle = 1, 0.5
	same(t, MergeSteps([]*StepResult{one}), one)
	ramp := &RampResult{}
	fill(reflect.ValueOf(ramp).Elem())
	same(t, MergeRamp([]*RampResult{ramp}), ramp)
	progress := Progress{}
	fill(reflect.ValueOf(&progress).Elem())
	progress.Phase = PhaseDrain
	same(t, MergeProgress([]Progress{progress}), progress)
}

// fill sets everything to something else than zero.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case *Hist:
		v.Set(reflect.ValueOf(histOf(time.Second)))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
		if name := v.Index(1); name.Kind() == reflect.Struct && name.NumField() > 0 &&
			name.Field(0).Kind() == reflect.String {
			name.Field(0).SetString("another") // groups have different names
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("said")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Int, reflect.Int64:
		v.SetInt(5)
	case reflect.Uint64:
		v.SetUint(7)
	}
}

func TestMergeProgress(t *testing.T) {
	got := MergeProgress([]Progress{
		{Phase: PhaseRun, Since: 9, Planned: 9, Clients: 1, Wanted: 2, Due: 3, Sent: 4, Delivered: 5,
			Blocked: 6, Idle: 0.5, Latency: histOf(time.Second)},
		{Phase: PhaseWarm, Since: 1, Planned: 4, Clients: 1, Wanted: 1, Idle: 0.25,
			Dropped: map[string]uint64{"x": 2}, Failures: Failures{FailTLS: {Count: 1}}},
		{Phase: PhaseWarm, Since: 2, Planned: 3, Clients: 1, Wanted: 1, Delivered: 1,
			Dropped: map[string]uint64{"x": 1, "y": 1}},
		{Phase: PhaseDone, Since: 20, Planned: 20},
	})
	same(t, got, Progress{Phase: PhaseWarm, Since: 2, Planned: 4, Clients: 3, Wanted: 4, Due: 3,
		Sent: 4, Delivered: 6, Blocked: 6, Idle: 0.1875, Latency: histOf(time.Second),
		Dropped:  map[string]uint64{"x": 3, "y": 1},
		Failures: Failures{FailTLS: {Count: 1}}})
	same(t, MergeProgress(nil), Progress{})
	if first := MergeProgress([]Progress{{Phase: PhaseRamp}, {}}); first.Phase != "" {
		t.Errorf("a part that has not begun is behind one in %q", first.Phase)
	}
}
