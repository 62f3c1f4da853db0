package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

// script serves what is written to it and returns what comes back and how it ended.
func script(t *testing.T, in io.Reader) (string, error) {
	t.Helper()
	var out bytes.Buffer
	var f *fakeFleet
	err := Serve(t.Context(), in, &out, func(job loadgen.Job) (loadgen.Fleet, error) {
		f = &fakeFleet{job: job}
		return f, nil
	})
	if f != nil && f.closed != 1 {
		t.Errorf("the fleet was closed %d times", f.closed)
	}
	return out.String(), err
}

func TestServe(t *testing.T) {
	for _, tt := range []struct{ in, out, says string }{
		{`{"do":"close"}`, `{"to":"close"}`, ""},
		{"", "", "the parent process is gone"},
		{`{"do":"ramp"}`, "", "out of turn"},
		{`{"do":"open","job":{}}` + "\n" + `{"do":"open","job":{}}`, `{"to":"open"}`, "out of turn"},
		{`{"do":"open","job":{}}` + "\nx", `{"to":"open"}`, `"x" is no request`},
		{`{"do":"cancel"}` + "\n" + `{"do":"close"}`, `{"to":"close"}`, ""},
		{`{"do":"open","job":{}}` + "\n" + `{"do":"ramp"}` + "\n" + `{"do":"close"}`,
			`{"to":"open"}` + "\n" + `{"to":"ramp","ramp":`, ""},
	} {
		out, err := script(t, strings.NewReader(tt.in+"\n"))
		if tt.in == "" {
			out, err = script(t, strings.NewReader(""))
		}
		if !strings.HasPrefix(out, tt.out) || (tt.out == "") != (out == "") {
			t.Errorf("%q: wrote %q, want %q", tt.in, out, tt.out)
		}
		if tt.says == "" && err != nil || tt.says != "" && (err == nil ||
			!strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: %v, want %q", tt.in, err, tt.says)
		}
	}
}

// The parent's end, and that of the context, end a step under way.
func TestServeEndsWithItsParent(t *testing.T) {
	const endless = `{"do":"open","job":{}}` + "\n" + `{"do":"step","step":{"rate":0,"warm_ns":0,` +
		`"window_ns":3600000000000,"drain_ns":0}}` + "\n"
	if _, err := script(t, strings.NewReader(endless)); err == nil {
		t.Error("no error without a parent")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in, w := io.Pipe()
	defer w.Close()
	go io.WriteString(w, endless)
	err := Serve(ctx, in, io.Discard, func(job loadgen.Job) (loadgen.Fleet, error) {
		return &fakeFleet{job: job}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the context's end: %v", err)
	}
}

// A fleet that cannot begin at a given time is made to wait for it.
func TestStepAtWithoutStarter(t *testing.T) {
	f := struct{ loadgen.Fleet }{&fakeFleet{}}
	start := monotonic() + int64(80*time.Millisecond)
	if _, err := stepAt(t.Context(), f, loadgen.Step{}, start); err != nil {
		t.Fatal(err)
	}
	if now := monotonic(); now < start {
		t.Errorf("ended %v before its start", time.Duration(start-now))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res, err := stepAt(ctx, f, loadgen.Step{Window: time.Hour}, monotonic()+int64(time.Hour))
	if err != nil || !res.Partial {
		t.Errorf("cancelled before its start: %+v, %v", res, err)
	}
}

func TestTail(t *testing.T) {
	var l tail
	for i := range 20 {
		if n, err := l.Write([]byte(strings.Repeat("x", 200*i) + "\r\n" + "y")); err != nil ||
			n != 200*i+3 {
			t.Fatal(n, err)
		}
	}
	got := strings.Split(l.String(), " | ")
	if len(got) != tailLinesMax || got[tailLinesMax-1] != "y" ||
		got[0] != "y"+strings.Repeat("x", tailLineBytesMax-1) {
		t.Errorf("%d lines, %q", len(got), got)
	}
	l.Write([]byte("\nlast words\npanic: oh\n\ngoroutine 1 [running]:\n" +
		strings.Repeat("main.f()\n", 50) + "exit status 2\n"))
	if got := l.String(); !strings.HasPrefix(got, "y | last words | panic: oh | goroutine 1") ||
		strings.Count(got, "|") != tailLinesMax-1 {
		t.Errorf("of a panic: %q", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, line := range []string{"", "{}", "null", "[]", "3", `{"do":"close"} {}`, `{"do":"fly"}`,
		`{"do":"close","why":"not"}`, `{"do":"ramp","start_ns":5}`, `{"do":"open"}`,
		`{"do":"step"}`, `{"do":"step","step":{},"start_ns":-5}`, `{"do":"ramp","job":{}}`,
		`{"do":"step","step":{},"job":{}}`, strings.Repeat("x", 500)} {
		if r, err := decodeRequest([]byte(line)); err == nil || len(err.Error()) > 250 {
			t.Errorf("%.50q is taken for %+v, %v", line, r, err)
		}
	}
	for _, line := range []string{"", "{}", "null", "[]", "3", `{"to":"close"} {}`, `{"to":"fly"}`,
		`{"to":"close","why":"not"}`, `{"to":"ramp"}`, `{"to":"step"}`, `{"to":"cancel"}`,
		`{"to":"ramp","step":{}}`, `{"to":"step","ramp":{}}`, `{"to":"open","progress":{}}`,
		`{"progress":{},"error":"x"}`, `{"to":"step","step":{},"progress":{}}`,
		`{"to":"ramp","ramp":{"login_ns":"x"}}`} {
		if r, err := decodeReply([]byte(line)); err == nil || len(err.Error()) > 250 {
			t.Errorf("%.50q is taken for %+v, %v", line, r, err)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, s := range []string{`{"do":"close"}`, `{"do":"open","job":{"options":{"loops":3}}}`,
		`{"do":"step","step":{"rate":3},"start_ns":7}`, `{"do":"ramp"}x`, `{"do":"fly"}`, "", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
			return
		}
		if (r.Do == doStep) != (r.Step != nil) || (r.Do == doOpen) != (r.Job != nil) {
			t.Fatalf("%q became %+v", line, r)
		}
		again(t, r, decodeRequest)
	})
}

func FuzzDecodeReply(f *testing.F) {
	h := loadgen.NewHist()
	h.Record(time.Second)
	full, err := encode(reply{To: doStep, Step: &loadgen.StepResult{
		Groups: []loadgen.GroupResult{{Latency: h}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, s := range []string{`{"to":"open"}`, `{"to":"ramp","error":"x"}`, `{"progress":{}}`,
		`{"to":"step"}`, `{}`, "[]", `{"to":"ramp","ramp":{"login_ns":"HISTFAAAA"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeReply(line)
		if err != nil {
			return
		}
		if r.To == doStep && r.Step == nil && r.Error == "" || r.To == "" && r.Progress == nil {
			t.Fatalf("%q became %+v", line, r)
		}
		again(t, r, decodeReply)
	})
}

// again encodes a message and expects it to come back.
func again[M any](t *testing.T, m M, decode func([]byte) (M, error)) {
	t.Helper()
	line, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("%q is not a line", line)
	}
	back, err := decode(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	// Histograms have caches, so what is compared is what is told of them.
	twice, err := encode(back)
	if err != nil || !reflect.DeepEqual(line, twice) {
		t.Fatalf("%q came back as %q, %v", line, twice, err)
	}
}
