package interop

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

// refusals are starts that cannot succeed. Each is refused by one sentence on stderr that
// names the culprit, with exit status 1, and leaves nothing behind.
var refusals = []struct {
	name    string
	culprit string   // must be in the sentence
	flags   []string // added to flags that are good
	spoil   func(t *testing.T, r *harness.Relay)
}{
	{name: "unknown flag", culprit: "-no-such-flag", flags: []string{"-no-such-flag"}},
	{name: "flag without its value", culprit: "stun-port", flags: []string{"-stun-port"}},
	{name: "value that is no number", culprit: "many", flags: []string{"-stun-port", "many"}},
	{name: "words after the flags", culprit: "surplus", flags: []string{"surplus"}},
	{name: "address without a port", culprit: "localhost", flags: []string{"-a", "localhost"}},
	{name: "address not ours", culprit: "192.0.2.1", flags: []string{"-a", "192.0.2.1:8443"}},
	{name: "unknown certificate mode", culprit: "magic", flags: []string{"-certmode", "magic"}},
	{name: "no certificate", culprit: "other.test", flags: []string{"-hostname", "other.test"}},
	{name: "no key file's folder", culprit: "/dev/null", flags: []string{"-c", "/dev/null/key"}},
	{name: "certificate that is none", culprit: harness.Hostname,
		spoil: func(t *testing.T, r *harness.Relay) {
			overwrite(t, filepath.Join(r.Dir, harness.Hostname+".crt"), "no certificate")
		}},
	{name: "certificate with another's key", culprit: harness.Hostname,
		spoil: func(t *testing.T, r *harness.Relay) {
			other := harness.WriteCerts(t, t.TempDir(), harness.Hostname)
			theirs, err := os.ReadFile(filepath.Join(other.Dir, harness.Hostname+".key"))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(r.Dir, harness.Hostname+".key"), string(theirs))
		}},
	{name: "key file that is no JSON", culprit: "relay.key",
		spoil: func(t *testing.T, r *harness.Relay) {
			overwrite(t, filepath.Join(r.Dir, "relay.key"), "privkey:0123")
		}},
	{name: "key file with half a key", culprit: "relay.key",
		spoil: func(t *testing.T, r *harness.Relay) {
			overwrite(t, filepath.Join(r.Dir, "relay.key"), `{"PrivateKey":"privkey:0123"}`)
		}},
	{name: "TCP port in use", culprit: "in use",
		spoil: func(t *testing.T, r *harness.Relay) {
			l, err := net.Listen("tcp", r.Addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}},
	{name: "UDP port in use", culprit: "in use",
		spoil: func(t *testing.T, r *harness.Relay) {
			c, err := net.ListenPacket("udp", r.STUNAddr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}},
}

func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "logs what it likes on the way")
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			r, good := harness.Prepare(t, harness.Options{TLS: true})
			if refusal.spoil != nil {
				refusal.spoil(t, r)
			}
			before := list(t, r.Dir)
			end := harness.RunToEnd(t, r.Kind, r.Dir, append(good, refusal.flags...)...)
			if end.ExitCode != 1 {
				t.Errorf("exit status %d, want 1", end.ExitCode)
			}
			line := strings.TrimSuffix(end.Stderr, "\n")
			if line == "" || strings.Contains(line, "\n") || end.Stdout != "" {
				t.Errorf("stdout %q, stderr %q; want one sentence on stderr", end.Stdout, line)
			}
			if !strings.Contains(line, refusal.culprit) {
				t.Errorf("%q does not name %q", line, refusal.culprit)
			}
			if after := list(t, r.Dir); after != before {
				t.Errorf("files before: %s; after: %s", before, after)
			}
		})
	}
}

// A protection that is asked for and cannot be had is refused, never silently left out.
func TestMissingProtectionsAreRefused(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "says so in other words")
	for _, flag := range []string{
		"-mesh-with=other.test", "-rate-config=missing.json", "-secrets-url=https://setec.test",
		"-verify-client-url=nonsense", "-disallow-app-names=,",
	} {
		r, good := harness.Prepare(t, harness.Options{})
		end := harness.RunToEnd(t, r.Kind, r.Dir, append(good, flag)...)
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "-"), "=")
		if end.ExitCode != 1 || !strings.Contains(end.Stderr, name) {
			t.Errorf("%s: exit status %d, stderr %q", flag, end.ExitCode, end.Stderr)
		}
	}
}

// A relay whose port is taken by another relay is refused too, although relays share a port
// among their own loops.
func TestSecondRelayOnThePort(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "shares no port among loops")
	r := harness.Start(t, harness.Options{})
	args := []string{"-a", r.Addr, "-c", filepath.Join(t.TempDir(), "second.key"),
		"-http-port", "-1", "-stun=false"}
	end := harness.RunToEnd(t, r.Kind, r.Dir, args...)
	if end.ExitCode != 1 || !strings.Contains(end.Stderr, "in use") {
		t.Errorf("exit status %d, stderr %q", end.ExitCode, end.Stderr)
	}
}

// The key file is made once, for its owner's eyes, and then kept.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	r, args := harness.Prepare(t, harness.Options{})
	r.Run(t, args)
	first := r.Login(t).ServerPublicKey()
	info, err := os.Stat(filepath.Join(r.Dir, "relay.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key file has mode %v", info.Mode())
	}
	r.Stop(t)

	again, moreArgs := harness.Prepare(t, harness.Options{})
	again.Run(t, append(moreArgs, "-c", filepath.Join(r.Dir, "relay.key")))
	if second := again.Login(t).ServerPublicKey(); second != first {
		t.Errorf("server key %v, then %v", first, second)
	}
}

// A key file as derper writes it is taken over.
func TestKeyFileIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "derper.key")
	text := "privkey:" + strings.Repeat("1f", 32)
	overwrite(t, file, "{\n\t\"PrivateKey\": \""+text+"\"\n}")
	var private key.NodePrivate
	if err := private.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	r, args := harness.Prepare(t, harness.Options{})
	r.Run(t, append(args, "-c", file))
	if got, want := r.Login(t).ServerPublicKey(), private.Public(); got != want {
		t.Errorf("server key %v, want %v", got, want)
	}
}

func TestStopsOnRequest(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		p := r.Login(t)
		if code := r.Stop(t); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		p.WantClosed(t)
	})
}

// -dev serves plain HTTP with a throw-away key.
func TestDev(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "-dev takes port 3340 whatever -a says")
	r, _ := harness.Prepare(t, harness.Options{})
	r.Run(t, []string{"-dev", "-a", r.Addr, "-stun=false"})
	r.Login(t).Ping(t)
	if files := list(t, r.Dir); files != "" {
		t.Errorf("-dev left files: %s", files)
	}
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// list names the files of a folder.
func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
