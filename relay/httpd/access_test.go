package httpd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebugEnvironment: the environment widens access, by derper's names and rules.
func TestDebugEnvironment(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("  s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	main := Main(testConfig())
	for _, tc := range []struct {
		name, value    string
		method, target string
		from           string
		forwarded      bool
		status         int
	}{
		{envKeyFile, key, "GET", "/debug/?debugkey=s3cret", stranger, false, 200},
		{envKeyFile, key, "GET", "/debug/vars?x=1&debugkey=s3cret", stranger, false, 200},
		{envKeyFile, key, "GET", "/debug/?debugkey=s3cret", stranger, true, 200},
		{envKeyFile, key, "GET", "/debug/?debugkey=s3cre", stranger, false, 403},
		{envKeyFile, key, "GET", "/debug/?debugkey=", stranger, false, 403},
		{envKeyFile, key, "GET", "/debug/", stranger, false, 403},
		{envKeyFile, key, "POST", "/debug/?debugkey=s3cret", stranger, false, 403},
		{envKeyFile, key, "HEAD", "/debug/?debugkey=s3cret", stranger, false, 403},
		{envKeyFile, empty, "GET", "/debug/?debugkey=", stranger, false, 403},
		{envKeyFile, "/no/such/file", "GET", "/debug/?debugkey=s3cret", stranger, false, 403},
		{envKeyFile, "", "GET", "/debug/?debugkey=s3cret", stranger, false, 403},

		{envAddress, "203.0.113.5", "GET", "/debug/", stranger, false, 200},
		{envAddress, "203.0.113.5", "GET", "/debug/", "[::ffff:203.0.113.5]:9", false, 200},
		{envAddress, "203.0.113.5", "GET", "/debug/", stranger, true, 403},
		{envAddress, "203.0.113.6", "GET", "/debug/", stranger, false, 403},
		{envAddress, "2001:db8::1", "GET", "/debug/", "[2001:db8::1]:9", false, 200},
		{envAddress, "everyone", "GET", "/debug/", stranger, false, 403},
		{envAddress, "", "GET", "/debug/", stranger, false, 403},

		{envRanges, "203.0.113.0/24", "GET", "/debug/", stranger, false, 200},
		{envRanges, "192.0.2.0/24, 203.0.113.4/31,", "GET", "/debug/", stranger, false, 200},
		{envRanges, "203.0.113.0/24", "GET", "/debug/", stranger, true, 403},
		{envRanges, "192.0.2.0/24", "GET", "/debug/", stranger, false, 403},
		{envRanges, "2001:db8::/32", "GET", "/debug/", "[2001:db8::1]:9", false, 200},
		{envRanges, "203.0.113.0/24,nonsense", "GET", "/debug/", stranger, false, 403},
		{envRanges, "nonsense", "GET", "/debug/", "127.0.0.1:9", false, 200},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			var headers []string
			if tc.forwarded {
				headers = []string{"X-Forwarded-For", tc.from}
			}
			if r := ask(main, tc.method, tc.target, tc.from, headers...); r.StatusCode != tc.status {
				t.Errorf("%s %s from %s: %d, want %d", tc.method, tc.target, tc.from, r.StatusCode,
					tc.status)
			}
		})
	}
}

// TestCheckEnvironment: a mistake is told with variable, value and remedy.
func TestCheckEnvironment(t *testing.T) {
	for _, tc := range []struct{ name, value, wrong string }{
		{envRanges, "", ""}, {envRanges, "192.0.2.0/24,,2001:db8::/32", ""},
		{envRanges, "192.0.2.0/24,192.0.2.1", `"192.0.2.1"`}, {envRanges, "x/8", `"x/8"`},
		{envAddress, "", ""}, {envAddress, "192.0.2.1", ""}, {envAddress, "2001:db8::1", ""},
		{envAddress, "host.example", `"host.example"`}, {envAddress, "192.0.2.1:80", `:80"`},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			err := CheckEnvironment()
			switch {
			case tc.wrong == "" && err != nil:
				t.Error(err)
			case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong) ||
				!strings.Contains(err.Error(), tc.name) || !strings.Contains(err.Error(), "use ")):
				t.Errorf("%v does not say %s, %s and a remedy", err, tc.name, tc.wrong)
			}
		})
	}
}
