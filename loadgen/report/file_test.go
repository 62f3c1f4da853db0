package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// only checks that a folder holds these files and nothing else.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("the folder holds %q, want %q", got, names)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.json")
	for range 2 { // new, and over an old one
		r := sample(2)
		r.Plan = json.RawMessage(`{"knee":80000}`)
		if err := Write(path, r); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		var plan bytes.Buffer
		if err := json.Compact(&plan, got.Plan); err != nil || plan.String() != string(r.Plan) {
			t.Errorf("plan %s, %v", got.Plan, err)
		}
		if a, b := text(t, r), text(t, got); !bytes.Equal(a, b) {
			t.Errorf("read differs:\n%s\n%s", a, b)
		}
		if h := got.Steps[0].Groups[0].Latency; h.Count() != 5000 {
			t.Errorf("%d latencies", h.Count())
		}
	}
	only(t, dir, "run.json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o400 == 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestUnwritableLeavesWhatWas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	err := WriteFile(path, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			t.Error(err)
		}
		return full
	})
	if !errors.Is(err, full) || err.Error() != "cannot write the report "+path+": "+full.Error() {
		t.Errorf("error %v", err)
	}
	only(t, dir, "run.json")
	if b, err := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the old report is %q, %v", b, err)
	}

	if err := WriteFile(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); string(b) != "new" {
		t.Errorf("the new report is %q, %v", b, err)
	}

	path = filepath.Join(dir, "no", "run.json")
	err = Write(path, sample(1))
	want := "cannot write the report " + path + ": no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := Write(dir, sample(1)); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("error %v", err)
	}
}

// A file system that is really full says so when the file is written or brought to the disk.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Skip("needs to mount a small file system:", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "run.json")
	err := Write(path, sample(3))
	if err == nil || err.Error() != "cannot write the report "+path+": no space left on device" {
		t.Errorf("error %v", err)
	}
	only(t, dir)
}

func TestDevicesAndLinksStay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan []byte, 1)
	go func() {
		b, _ := os.ReadFile(path) // an error shows as a report that is none
		read <- b
	}()
	if err := Write(path, sample(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(<-read); err != nil {
		t.Error(err)
	}
	link := filepath.Join(dir, "link.json")
	if err := os.WriteFile(filepath.Join(dir, "real.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, sample(1)); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "link.json", "pipe", "real.json")
	if _, err := Read(filepath.Join(dir, "real.json")); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	whole, err := json.Marshal(sample(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ content, want string }{
		{"", "damaged or no report"},
		{string(whole[:len(whole)/2]), "damaged or no report"},
		{"[]", "damaged or no report"},
		{"{}", "no report of loadgen"},
		{`{"format":1,"kind":"bench"}`, "no report of loadgen"},
		{`{"format":2,"kind":"run"}`, "format 2 and this program reads format 1"},
		{`{"format":1,"kind":"run","steps":[null]}`, "step 1 is empty"},
		{`{"format":1,"kind":"run","steps":[{"failures":{"tls":null}}]}`, "failures of step 1"},
		{`{"format":1,"kind":"run","ramp":{"failures":{"tls":null}}}`, "failures of the ramp"},
		{`{"format":1,"kind":"run","steps":[{"window_ns":-1}]}`, "less than no time"},
		{`{"format":1,"kind":"run","ramp":{"login_ns":"HISTFAAA"}}`, "is damaged"},
		{`{"format":1,"kind":"run","time":7}`, "damaged"},
	} {
		path := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), c.want) ||
			strings.Count(err.Error(), path) != 1 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: error %v, want %q", c.content, err, c.want)
		}
	}
	if _, err := Read("/no/such.json"); err == nil ||
		err.Error() != "cannot read the report /no/such.json: no such file or directory" {
		t.Errorf("error %v", err)
	}
}

// Before requests without an answer were counted, Sent and Answered said how many those are.
func TestOldReportsOfSTUN(t *testing.T) {
	r, err := Decode([]byte(`{"format":1,"kind":"run","steps":[{"window_ns":1000000000,
		"stun":{"sent":500,"answered":480}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	u := r.Steps[0].STUN
	if u.Due != 500 || u.Asked != 500 || u.Lost != 20 {
		t.Errorf("%+v", u)
	}
	if Judge(r); len(r.Failed) != 1 {
		t.Errorf("failed by %q", r.Failed)
	}
}

// Whatever a file holds, it is refused or can be judged, shown and merged.
func FuzzDecode(f *testing.F) {
	whole, err := json.Marshal(sample(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":1,"kind":"run","steps":[{"window_ns":1,"series":[{"at_ns":0},{}]}]}`))
	f.Add([]byte(`{"format":1,"kind":"run","memory":[{"clients":-1}],"steps":[{"slack":{}},{}]}`))
	f.Add([]byte(`{"format":1,"kind":"run","ramp":{"clients":1,"wanted":2,"took_ns":-5}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		Judge(r)
		if err := Text(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		if err := HTML(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		if _, err := Merge([]*Report{r, sample(1)}); err == nil && r.Kind != Run {
			t.Fatal("merged what is no run")
		}
		if _, err := json.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}
