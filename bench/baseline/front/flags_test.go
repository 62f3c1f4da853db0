package front

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
)

// given is what loadgen/launch gives to a relay, and then some.
func given(more ...string) []string {
	return append([]string{"-a", "127.0.1.1:7000", "-c", "key", "-http-port", "-1", "-certdir", "d",
		"-hostname", "h", "-certmode", "manual", "-stun=false"}, more...)
}

func TestFlags(t *testing.T) {
	f, err := parse("floor", false, given(), nil)
	want := flags{addr: "127.0.1.1:7000", keyFile: "key", certDir: "d", certMode: "manual", host: "h",
		httpPort: -1, stunPort: 3478}
	if err != nil || f != want || f.plain() {
		t.Errorf("%+v, %v, want %+v", f, err, want)
	}
	f, err = parse("floor", false, given("-certmode", "letsencrypt"), nil)
	if err != nil || !f.plain() {
		t.Errorf("letsencrypt on port 7000 is not plain: %+v, %v", f, err)
	}
	f, err = parse("gnet", true, given("-stun=true", "-stun-port", "7001"), nil)
	if err != nil || !f.stun || f.stunPort != 7001 {
		t.Errorf("one that answers STUN: %+v, %v", f, err)
	}
	if _, err = parse("gnet", true, given("-stun", "-stun-port", "0"), nil); err == nil {
		t.Error("-stun-port 0 is taken")
	}
}

func TestFlagsRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"-mesh-with":            given("-mesh-with", "x"),
		"-verify-clients":       given("-verify-clients"),
		"-engine":               given("-engine", "epoll"),
		"no other flag":         given("-accept-connection-limit", "1"),
		`"more" is no flag`:     given("more"),
		"missing port":          given("-a", "127.0.0.1"),
		"-c is missing":         given("-c", ""),
		"-http-port 80":         given("-http-port", "80"),
		"give -stun=false":      given("-stun-port", "3478", "-stun"),
		`-certmode "gcp"`:       given("-certmode", "gcp"),
		"-certdir is missing":   given("-certdir", ""),
		"letsencrypt on port 4": given("-certmode", "letsencrypt", "-a", ":443"),
		"value \"x\" for flag":  given("-http-port", "x"),
	} {
		_, err := parse("floor", false, args, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", args, err, want)
		}
	}
}

func TestFlagsHelp(t *testing.T) {
	var b bytes.Buffer
	if _, err := parse("floor", false, []string{"-h"}, &b); !errors.Is(err, flag.ErrHelp) ||
		!strings.Contains(b.String(), "-certmode") {
		t.Errorf("-h: %v, %q", err, b.String())
	}
}
