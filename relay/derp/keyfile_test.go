package derp

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestLoadOrCreateKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "lib", "derper.key")
	key, created, err := LoadOrCreateKey(path)
	if err != nil || !created || key.IsZero() {
		t.Fatalf("created %v, %v", created, err)
	}
	text, err := key.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := "{\n\t\"PrivateKey\": \"" + string(text) + "\"\n}"
	if string(got) != want || err != nil {
		t.Errorf("the file holds %q, want %q, %v", got, want, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); len(left) != 1 || err != nil {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	again, created, err := LoadOrCreateKey(path)
	if again != key || created || err != nil {
		t.Errorf("second start: same key %v, created %v, %v", again == key, created, err)
	}
}

func TestLoadKeyForms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, s := range []string{
		"{\n\t\"PrivateKey\": \"privkey:" + seq40 + "\"\n}", // derper's
		`{"privatekey":"privkey:` + seq40 + `","Other":1}` + "\n",
	} {
		write(t, path, s)
		if key, err := LoadKey(path); key != PrivateKey(seqKey(0x40)) || err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What is there stays, whatever it is; the sentence names the path and never the content.
func TestDamagedKeyFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for _, s := range []string{"", "{", "{}", "null", "[]", `{"PrivateKey":""}`,
		`{"PrivateKey":null}`, `{"PrivateKey":7}`, `{"PrivateKey":"privkey:` + seq40[2:] + `"}`,
		`{"PrivateKey":"nodekey:` + seq40 + `"}`,
		`{"PrivateKey":"privkey:` + strings.Repeat("0", 64) + `"}`,
		"privkey:" + seq40, strings.Repeat("x", keyFileBytesMax+1)} {
		write(t, path, s)
		key, created, err := LoadOrCreateKey(path)
		if err == nil || created || !key.IsZero() {
			t.Errorf("%.80q is taken for a key file", s)
			continue
		}
		msg := err.Error()
		if !strings.Contains(msg, path) || strings.ContainsAny(msg, "\n") ||
			strings.Contains(msg, seq40[2:60]) {
			t.Errorf("%.80q: %s", s, msg)
		}
		if got, err := os.ReadFile(path); string(got) != s || err != nil {
			t.Errorf("%.80q was overwritten with %q, %v", s, got, err)
		}
	}
}

func write(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) ||
		strings.Count(err.Error(), "none") != 1 {
		t.Errorf("no file: %v", err)
	}
	if _, _, err := LoadOrCreateKey(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder instead of a file: %v", err)
	}
	write(t, filepath.Join(dir, "file"), "")
	path := filepath.Join(dir, "file", "key")
	if _, _, err := LoadOrCreateKey(path); err == nil || strings.Count(err.Error(), path) != 1 {
		t.Errorf("a file instead of a folder: %v", err)
	}
	if err := createKeyFile(filepath.Join(dir, "file"), newKey(t)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing file is replaced: %v", err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "none"), dangling); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateKey(dangling); err == nil {
		t.Error("a dangling symbolic link is replaced")
	}
}

// All who start at the same moment get one key, and it is the file's.
func TestLoadOrCreateKeyRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	const starters = 8
	var keys [starters]PrivateKey
	var created [starters]bool
	var wg sync.WaitGroup
	for i := range starters {
		wg.Go(func() {
			var err error
			if keys[i], created[i], err = LoadOrCreateKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	firsts := 0
	for i := range starters {
		if keys[i] != keys[0] || keys[i].IsZero() {
			t.Errorf("starter %d has another key", i)
		}
		if created[i] {
			firsts++
		}
	}
	if firsts != 1 {
		t.Errorf("%d starters believe to be the first", firsts)
	}
}

// A file system without hard links still gets a key, and still never loses one.
func TestPublishWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	tmp, path := filepath.Join(dir, "tmp"), filepath.Join(dir, "key")
	noLinks := func(string, string) error { return syscall.EPERM }
	write(t, tmp, "new")
	if err := publish(tmp, path, noLinks); err != nil {
		t.Fatal(err)
	}
	write(t, tmp, "newer")
	if err := publish(tmp, path, noLinks); !errors.Is(err, syscall.EPERM) {
		t.Errorf("over an existing file: %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "new" || err != nil {
		t.Errorf("the file holds %q, %v", got, err)
	}
}
