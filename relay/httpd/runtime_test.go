package httpd

import (
	"encoding/json"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

func TestSetMutexProfileFraction(t *testing.T) {
	before := runtime.SetMutexProfileFraction(-1)
	t.Cleanup(func() { runtime.SetMutexProfileFraction(before) })
	for _, tc := range []struct {
		query, header string
		status        int
		body          string
		rate          int
	}{
		{"?rate=100", "derp", 200, "mutex changed from 0 to 100\n", 100},
		{"?rate=7", "derp", 200, "mutex changed from 100 to 7\n", 7},
		{"?rate=9", "", 400, "Sec-Debug: derp", 7},
		{"?rate=9", "other", 400, "Sec-Debug: derp", 7},
		{"", "derp", 400, "rate=100", 7},
		{"?rate=x", "derp", 400, `bad rate "x"`, 7},
		{"?rate=0", "derp", 200, "mutex changed from 7 to 0\n", 0},
	} {
		r := ask(Main(testConfig()), "GET", "/debug/set-mutex-profile-fraction"+tc.query,
			"127.0.0.1:1", "Sec-Debug", tc.header)
		if body := bodyOf(t, r); r.StatusCode != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s with %q: %d %q", tc.query, tc.header, r.StatusCode, body)
		}
		if now := runtime.SetMutexProfileFraction(-1); now != tc.rate {
			t.Errorf("%s with %q: the rate is %d, want %d", tc.query, tc.header, now, tc.rate)
		}
	}
}

func TestRuntimeMetrics(t *testing.T) {
	main := Main(testConfig())
	for _, tc := range []struct {
		target, kind string
		status       int
		pattern      string
	}{
		{"", "text/plain", 200, `(?m)^/sched/goroutines:goroutines [1-9]\d*$`},
		{"/", "text/plain", 200, `(?m)^# .+\n/gc/heap/allocs:bytes [1-9]\d*$`},
		{"", "text/plain", 200, `(?m)^/gc/heap/allocs-by-size:bytes histogram .*:\d+`},
		{"/sched/goroutines:goroutines", "application/json", 200, `^[1-9]\d*\n$`},
		{"/no/such:metric", "text/plain", 404, `"/no/such:metric"`},
		{"?name=/gc/heap/allocs:bytes", "application/json", 200,
			`^{\n\t"/gc/heap/allocs:bytes": [1-9]\d*\n}\n$`},
		{"?name=/gc/heap/*&name=/sched/goroutines:goroutines", "application/json", 200,
			`(?s)"/gc/heap/goal:bytes": .*"/sched/goroutines:goroutines": `},
		{"?name=/gc/heap/allocs-by-size:bytes", "application/json", 200, `(?s)"counts": .*"\+Inf"`},
		{"?name=/no/such:metric", "text/plain", 404, `"/no/such:metric"`},
		{"?name=/no/such/*", "application/json", 200, `^{}\n$`},
	} {
		r := ask(main, "GET", runtimeMetricsPath+tc.target, "127.0.0.1:1")
		body := bodyOf(t, r)
		if r.StatusCode != tc.status || !regexp.MustCompile(tc.pattern).MatchString(body) ||
			!strings.HasPrefix(r.Header.Get("Content-Type"), tc.kind) {
			t.Errorf("%q: %d %s %.300q", tc.target, r.StatusCode, r.Header.Get("Content-Type"), body)
		}
		if tc.kind == "application/json" && !json.Valid([]byte(body)) {
			t.Errorf("%q is no JSON", tc.target)
		}
	}
	if r := ask(main, "GET", runtimeMetricsPath+"/x", stranger); r.StatusCode != 403 {
		t.Errorf("to a stranger: %d", r.StatusCode)
	}
}
