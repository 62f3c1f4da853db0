package browser

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"derpd/interop/harness"
)

var (
	//go:embed package.json
	packageJSON []byte
	//go:embed package-lock.json
	packageLock []byte
)

// Install makes Chromium and npm available, where it may, and returns the path of the NaCl
// script that package-lock.json names. What it cannot install is Missing.
func Install(t testing.TB) (naclPath string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), installMax)
	defer cancel()
	need := filepath.Join(moduleDir(), "..", ".ci", "need")
	if msg, err := exec.CommandContext(ctx, need, "chromium", "npm").CombinedOutput(); err != nil {
		harness.Missing(t, strings.TrimSpace(string(msg)))
	}
	dir := filepath.Join(moduleDir(), ".bin", "npm")
	naclPath = filepath.Join(dir, "node_modules", "tweetnacl", "nacl-fast.min.js")
	if upToDate(dir, naclPath) {
		return naclPath
	}
	if err := fromNPM(ctx, dir); err != nil {
		t.Fatal(err)
	}
	return naclPath
}

// upToDate reports whether the folder holds what the lock file says: the lock file is written
// last.
func upToDate(dir, naclPath string) bool {
	have, err := os.ReadFile(filepath.Join(dir, "installed"))
	if err != nil || !bytes.Equal(have, packageLock) {
		return false
	}
	_, err = os.Stat(naclPath)
	return err == nil
}

// fromNPM fetches what the lock file names into dir; npm compares the digests.
func fromNPM(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, b := range map[string][]byte{
		"package.json": packageJSON, "package-lock.json": packageLock,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %v\n%s", dir, err, msg)
	}
	return os.WriteFile(filepath.Join(dir, "installed"), packageLock, 0o644)
}

// moduleDir is the folder of the interop module, wherever the test runs.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}
