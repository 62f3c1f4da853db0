package tlsengine

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestFIPSOnly runs itself again with GODEBUG=fips140=only, which is read when a process starts.
func TestFIPSOnly(t *testing.T) {
	if !fips140.Enforced() {
		mustPair(t, suite13(t))
		if os.Getenv("TEST_EMULATED") != "" { // set by make test-arm64
			t.Skip("emulated: the system cannot execute this binary once more")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSOnly$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "refused by all") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	_, errServer := NewServer(nil)
	_, errClient := NewClient(nil)
	_, _, errPair := NewPair(v13, suites[0].id, pattern(32))
	for _, err := range []error{errServer, errClient, errPair, SelfCheck()} {
		if !errors.Is(err, ErrFIPS) {
			t.Errorf("under fips140=only: %v", err)
		}
	}
	if !t.Failed() {
		t.Log("refused by all")
	}
}
