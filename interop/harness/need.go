package harness

import (
	"os"
	"os/exec"
	"testing"
)

// Missing skips a test for something the machine lacks, and fails it under CI=true, where
// nothing may be passed over in silence.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (and CI=true, so this is no reason to skip)", what)
	}
	t.Skip(what)
}

// Need returns the path of a program of the operating system, or calls Missing.
func Need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, program+" is not installed")
	}
	return path
}
