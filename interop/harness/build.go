package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// Kind names a relay's make.
type Kind string

// The relays the tests know.
const (
	Derpd     Kind = "derpd"          // this project's relay, built from ../cmd/derpd
	Derper    Kind = "derper"         // Tailscale's, at the version of this module's go.mod
	DerperNew Kind = "derper-1.104.5" // Tailscale's newest, from ../bench/peers
)

// Under returns the kind the tests are to run against: INTEROP_PEER, or derpd.
func Under() Kind {
	if k := os.Getenv("INTEROP_PEER"); k != "" {
		return Kind(k)
	}
	return Derpd
}

// recipe says how a program is built: where `go build` runs, what it builds, and what its
// environment needs besides the caller's.
type recipe struct {
	dir string // relative to the interop module
	pkg string
	env []string
}

var recipes = map[string]recipe{
	string(Derpd):  {dir: "..", pkg: "./cmd/derpd", env: []string{"CGO_ENABLED=0"}},
	string(Derper): {dir: ".", pkg: "tailscale.com/cmd/derper"},
	"derpprobe":    {dir: ".", pkg: "tailscale.com/cmd/derpprobe"},
	"tailscale":    {dir: ".", pkg: "tailscale.com/cmd/tailscale"},
	"tailscaled":   {dir: ".", pkg: "tailscale.com/cmd/tailscaled"},
	string(DerperNew): {dir: "../bench/peers", pkg: "tailscale.com/cmd/derper",
		env: []string{peersToolchain}},
}

// peersToolchain names the Go release that derper 1.104.5 asks for; the module proxy serves it.
const peersToolchain = "GOTOOLCHAIN=go1.27.3"

var built struct {
	mu   sync.Mutex
	path map[string]string
}

// Build returns the path of a program named in recipes, building it into the module's
// git-ignored .bin folder first. DERPD_BIN names a derpd to take instead, and DERPD_RACE=1
// builds it with the race detector. One build runs at a time; BuildAll before the tests keeps
// compilers out of their way.
func Build(t testing.TB, name string) string {
	t.Helper()
	p, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// BuildAll builds programs ahead of the tests that call Build.
func BuildAll(names ...string) error {
	for _, name := range names {
		if _, err := find(name); err != nil {
			return err
		}
	}
	return nil
}

func find(name string) (string, error) {
	if name == string(Derpd) && os.Getenv("DERPD_BIN") != "" {
		return os.Getenv("DERPD_BIN"), nil
	}
	built.mu.Lock()
	defer built.mu.Unlock()
	if p := built.path[name]; p != "" {
		return p, nil
	}
	p, err := build(name)
	if err != nil {
		return "", err
	}
	if built.path == nil {
		built.path = make(map[string]string)
	}
	built.path[name] = p
	return p, nil
}

func build(name string) (string, error) {
	r, ok := recipes[name]
	if !ok {
		return "", fmt.Errorf("no recipe to build %q: INTEROP_PEER is derpd, derper or %s",
			name, DerperNew)
	}
	root := moduleDir()
	bin := filepath.Join(root, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(bin, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	args := []string{"build", "-buildvcs=false"} // git may refuse a clone that another user made
	env := append(os.Environ(), r.env...)
	out := filepath.Join(bin, name)
	if name == string(Derpd) && os.Getenv("DERPD_RACE") == "1" {
		out += "-race"
		args = append(args, "-race")
		env = append(env, "CGO_ENABLED=1")
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildWaitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, r.pkg)...)
	cmd.Dir = filepath.Join(root, r.dir)
	cmd.Env = env
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s in %s: %v\n%s", r.pkg, cmd.Dir, err, msg)
	}
	return out, nil
}

// lockFile takes an exclusive lock, so that test binaries of several packages, which `go test`
// runs at the same time, do not write one program twice while it runs.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// moduleDir is the folder of the interop module, wherever the test runs.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}
