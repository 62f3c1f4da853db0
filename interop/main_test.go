package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"derpd/interop/harness"
)

// testsAtOnce is above the core count because tests mostly wait, some of them for a minute.
const testsAtOnce = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		panic(err)
	}
	programs := []string{string(harness.Under())}
	if !testing.Short() {
		programs = append(programs, "derpprobe")
	}
	if err := harness.BuildAll(programs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// overBoth runs a test over plain HTTP and over TLS, each with a relay of its own.
func overBoth(t *testing.T, run func(t *testing.T, r *harness.Relay)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		run(t, harness.Start(t, harness.Options{}))
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		run(t, harness.Start(t, harness.Options{TLS: true}))
	})
}

// long marks a test that has to wait for the relay's own timers.
func long(t *testing.T, why string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("not with -short: %s", why)
	}
}

// derpdOnly marks a promise that derper does not make.
func derpdOnly(t *testing.T, why string) {
	t.Helper()
	if harness.Under() != harness.Derpd {
		t.Skipf("%s: %s", harness.Under(), why)
	}
}
