package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"derpd/relay/derp"
)

const storeHost = "derp.example.com"

var storeKey = derp.PrivateKey{1, 2, 3}.Public()

// storePair writes a new pair for host into dir and returns the certificate (DER).
func storePair(t *testing.T, dir, host string) []byte {
	t.Helper()
	pair, err := selfSigned(host)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := Files(dir, host)
	if err := writePair(pair, dir, crt, key); err != nil {
		t.Fatal(err)
	}
	return pair.Certificate[0]
}

// storeMoved makes the files look written at that time, since a file system may have coarse
// clocks.
func storeMoved(t *testing.T, dir, host string, at time.Time) {
	t.Helper()
	crt, key := Files(dir, host)
	for _, f := range []string{crt, key} {
		if err := os.Chtimes(f, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// storeServes returns the chain of a whole handshake with s.
func storeServes(t *testing.T, s *Store, name string) []*x509.Certificate {
	t.Helper()
	chain, err := storeHandshake(s, name)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func storeHandshake(s *Store, name string) ([]*x509.Certificate, error) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go tls.Server(far, &tls.Config{GetCertificate: s.GetCertificate}).Handshake()
	c := tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates, nil
}

func manualStore(t *testing.T, dir, host string) (*Store, *bytes.Buffer) {
	t.Helper()
	var logged bytes.Buffer
	s, err := Manual(dir, host, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s, &logged
}

// TestManualServes: the pair on disk is served with the meta certificate behind it.
func TestManualServes(t *testing.T) {
	dir := t.TempDir()
	leaf := storePair(t, dir, storeHost)
	s, _ := manualStore(t, dir, storeHost)
	if made, err := s.Serve(storeKey); made || err != nil {
		t.Fatal(made, err)
	}
	chain := storeServes(t, s, storeHost)
	if len(chain) != 2 || !bytes.Equal(chain[0].Raw, leaf) {
		t.Fatalf("%d certificates, the first is not the one on disk", len(chain))
	}
	key, version, ok := derp.KeyFromMetaCert(chain[1])
	if !ok || key != storeKey || version != derp.ProtocolVersion {
		t.Errorf("the meta certificate names %v, version %d, %v", key, version, ok)
	}
	if now := time.Now(); now.Before(chain[1].NotBefore) || now.After(chain[1].NotAfter) {
		t.Errorf("the meta certificate is valid from %v to %v", chain[1].NotBefore,
			chain[1].NotAfter)
	}
}

// TestManualSNI: with a name, only this name is served; with an address, all are.
func TestManualSNI(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	named, _ := manualStore(t, dir, storeHost)
	numbered, _ := manualStore(t, dir, "192.0.2.7")
	for _, s := range []*Store{named, numbered} {
		if _, err := s.Serve(storeKey); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		s    *Store
		name string
		ok   bool
	}{
		{named, storeHost, true}, {named, "", false}, {named, "other.example.com", false},
		{named, "x." + storeHost, false},
		{numbered, "", true}, {numbered, storeHost, true},
	} {
		_, err := storeHandshake(tc.s, tc.name)
		if (err == nil) != tc.ok {
			t.Errorf("asked for %q: %v, want served %v", tc.name, err, tc.ok)
		}
		cert, err := tc.s.GetCertificate(&tls.ClientHelloInfo{ServerName: tc.name})
		if (err == nil) != tc.ok || (cert != nil) != tc.ok {
			t.Errorf("asked for %q: %v", tc.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), storeHost) {
			t.Errorf("the refusal %q does not say what is served", err)
		}
	}
}

// TestReplacedFilesAreServed: from the next look, without a restart.
func TestReplacedFilesAreServed(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	s, logged := manualStore(t, dir, storeHost)
	if _, err := s.Serve(storeKey); err != nil {
		t.Fatal(err)
	}
	before := s.current.Load()
	now := time.Now()
	s.look(now.Add(lookEvery))
	if s.current.Load() != before {
		t.Error("loaded anew though nothing changed")
	}
	leaf := storePair(t, dir, storeHost)
	storeMoved(t, dir, storeHost, now.Add(time.Minute))
	s.look(now.Add(2 * lookEvery))
	chain := storeServes(t, s, storeHost)
	if !bytes.Equal(chain[0].Raw, leaf) || len(chain) != 2 {
		t.Error("the new certificate is not served, or not with the meta certificate")
	}
	if len(before.Certificate) != 2 || bytes.Equal(before.Certificate[0], leaf) {
		t.Error("what earlier handshakes hold was changed")
	}
	if !strings.Contains(logged.String(), "certificate replaced") {
		t.Errorf("logged %q", logged)
	}
	if _, _, ok := derp.KeyFromMetaCert(chain[1]); !ok {
		t.Error("the second certificate is not the meta certificate")
	}
}

// TestBrokenFilesAreNotServed: the old pair stays, one error is logged, and a repair is seen.
func TestBrokenFilesAreNotServed(t *testing.T) {
	for name, breakIt := range map[string]func(crt, key string) error{
		"half a certificate": func(crt, _ string) error { return os.Truncate(crt, 200) },
		"no PEM":             func(crt, _ string) error { return os.WriteFile(crt, []byte("x"), 0o644) },
		"no key":             func(_, key string) error { return os.Remove(key) },
		"no certificate":     func(crt, _ string) error { return os.Remove(crt) },
		"another key": func(_, key string) error {
			other := t.TempDir()
			storePair(t, other, storeHost)
			_, k := Files(other, storeHost)
			b, err := os.ReadFile(k)
			if err != nil {
				return err
			}
			return os.WriteFile(key, b, 0o600)
		},
		"another name": func(crt, key string) error {
			other := t.TempDir()
			storePair(t, other, "other.example.com")
			c, k := Files(other, "other.example.com")
			return errors.Join(os.Rename(c, crt), os.Rename(k, key))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			leaf := storePair(t, dir, storeHost)
			s, logged := manualStore(t, dir, storeHost)
			if _, err := s.Serve(storeKey); err != nil {
				t.Fatal(err)
			}
			crt, key := Files(dir, storeHost)
			if err := breakIt(crt, key); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			for n := range 3 {
				s.look(now.Add(time.Duration(n+1) * lookEvery))
			}
			if chain := storeServes(t, s, storeHost); !bytes.Equal(chain[0].Raw, leaf) {
				t.Error("the old certificate is not served any more")
			}
			if n := strings.Count(logged.String(), "level=ERROR"); n != 1 {
				t.Errorf("%d errors logged in three looks, want 1: %s", n, logged)
			}
			repaired := storePair(t, dir, storeHost)
			storeMoved(t, dir, storeHost, now.Add(time.Hour))
			s.look(now.Add(5 * lookEvery))
			if chain := storeServes(t, s, storeHost); !bytes.Equal(chain[0].Raw, repaired) {
				t.Error("the repaired pair is not served")
			}
		})
	}
}

// TestWhatDoesNotLoadIsTriedAgain: each reason is logged once, however long it lasts; the meta
// certificate is renewed all the same; and that the files can be read again is seen at the next
// look, though nothing that a stamp holds has changed.
func TestWhatDoesNotLoadIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	s, logged := manualStore(t, dir, storeHost)
	if _, err := s.Serve(storeKey); err != nil {
		t.Fatal(err)
	}
	load, now := s.load, time.Now()
	before := storeServes(t, s, storeHost)
	fails := func(err error, from time.Duration, errs int) {
		t.Helper()
		s.load = func() (*tls.Certificate, error) { return nil, err }
		for n := range 3 {
			s.look(now.Add(from + time.Duration(n)*lookEvery))
		}
		if n := strings.Count(logged.String(), "level=ERROR"); n != errs {
			t.Errorf("%v: %d errors logged so far, want %d: %s", err, n, errs, logged)
		}
	}
	storeMoved(t, dir, storeHost, now.Add(time.Minute))
	fails(fs.ErrPermission, time.Minute, 1)
	fails(fs.ErrNotExist, time.Hour, 2)
	fails(fs.ErrNotExist, metaEvery+time.Hour, 2)
	after := storeServes(t, s, storeHost)
	if bytes.Equal(after[1].Raw, before[1].Raw) || !bytes.Equal(after[0].Raw, before[0].Raw) {
		t.Error("the meta certificate is not renewed, or the other is another")
	}
	s.load = load
	if s.look(now.Add(metaEvery + 2*time.Hour)); s.failing != "" ||
		!strings.Contains(logged.String(), "loaded anew") {
		t.Errorf("readable again, and not seen: %q, %s", s.failing, logged)
	}
}

// TestMetaCertIsRenewed: daily, with the same chain in front.
func TestMetaCertIsRenewed(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	s, _ := manualStore(t, dir, storeHost)
	if _, err := s.Serve(storeKey); err != nil {
		t.Fatal(err)
	}
	before := storeServes(t, s, storeHost)
	s.look(time.Now().Add(metaEvery - time.Minute))
	if again := storeServes(t, s, storeHost); !bytes.Equal(again[1].Raw, before[1].Raw) {
		t.Error("renewed before a day has passed")
	}
	s.look(time.Now().Add(metaEvery + time.Minute))
	after := storeServes(t, s, storeHost)
	if bytes.Equal(after[1].Raw, before[1].Raw) || !bytes.Equal(after[0].Raw, before[0].Raw) {
		t.Error("a day later the meta certificate is the same, or the other is not")
	}
	if key, _, ok := derp.KeyFromMetaCert(after[1]); !ok || key != storeKey {
		t.Errorf("the new one names %v", key)
	}
}

// TestAddressIsSelfSigned: for an address without files a pair is made, written with Serve
// and not before, its key for the owner only; the next start serves the same.
func TestAddressIsSelfSigned(t *testing.T) {
	for _, host := range []string{"192.0.2.7", "2001:db8::7"} {
		dir := filepath.Join(t.TempDir(), "made", "here")
		s, _ := manualStore(t, dir, host)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: something was written before Serve: %v", host, err)
		}
		if made, err := s.Serve(storeKey); !made || err != nil {
			t.Fatalf("%s: made %v, %v", host, made, err)
		}
		crt, key := Files(dir, host)
		if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: key file %v, %v; want mode 0600", host, st.Mode(), err)
		}
		b, err := os.ReadFile(crt)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
		if left := time.Until(leaf.NotAfter); left < 364*24*time.Hour {
			t.Errorf("%s: valid for %v only", host, left)
		}
		if chain := storeServes(t, s, ""); !bytes.Equal(chain[0].Raw, leaf.Raw) {
			t.Errorf("%s: served is not what was written", host)
		}
		pin := s.Pin()
		s.look(time.Now().Add(lookEvery))
		again, _ := manualStore(t, dir, host)
		if made, err := again.Serve(storeKey); made || err != nil {
			t.Errorf("%s: made once more: %v, %v", host, made, err)
		}
		if s.Pin() != pin || again.Pin() != pin || !strings.HasPrefix(pin, "sha256-raw:") ||
			len(pin) != len("sha256-raw:")+64 {
			t.Errorf("%s: pins %s, %s, %s", host, pin, s.Pin(), again.Pin())
		}
	}
}

// TestManualRefuses: what cannot be served is told in a sentence with the file and a remedy,
// and nothing is written.
func TestManualRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		host  string
		files map[string]string // by suffix
		want  string
	}{
		"no files":       {storeHost, nil, "put them there"},
		"no key":         {storeHost, map[string]string{".crt": "x"}, "put them there"},
		"no PEM":         {storeHost, map[string]string{".crt": "x", ".key": "y"}, "replace them"},
		"bad address's":  {"192.0.2.7", map[string]string{".crt": "x", ".key": "y"}, "replace them"},
		"address no key": {"192.0.2.7", map[string]string{".crt": "x"}, "put them there"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for suffix, text := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, tc.host+suffix), []byte(text),
					0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Manual(dir, tc.host, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tc.want) ||
				!strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("refused by %v; want a sentence with %q and the file", err, tc.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != len(tc.files) {
				t.Errorf("%d files are there, %d were", len(left), len(tc.files))
			}
		})
	}
	t.Run("another name", func(t *testing.T) {
		dir := t.TempDir()
		storePair(t, dir, "other.example.com")
		for _, suffix := range []string{".crt", ".key"} {
			if err := os.Rename(filepath.Join(dir, "other.example.com"+suffix),
				filepath.Join(dir, storeHost+suffix)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Manual(dir, storeHost, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "is not for \""+storeHost+"\"") {
			t.Errorf("refused by %v", err)
		}
	})
	t.Run("cannot be written", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "certs")
		s, _ := manualStore(t, dir, "192.0.2.7")
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where a folder should be
			t.Fatal(err)
		}
		if _, err := s.Serve(storeKey); err == nil || !strings.Contains(err.Error(), "-certdir") {
			t.Errorf("refused by %v", err)
		}
	})
}

func TestFiles(t *testing.T) {
	for host, want := range map[string]string{
		"derp.example.com": "derp.example.com", "192.0.2.7": "192.0.2.7",
		"2001:db8::7": "2001db87", "../../etc/passwd": "....etcpasswd", "a b*c": "abc",
	} {
		crt, key := Files("/dir", host)
		if crt != "/dir/"+want+".crt" || key != "/dir/"+want+".key" {
			t.Errorf("%q: %s and %s", host, crt, key)
		}
	}
}

// TestSelfSigned: in memory, under any name, with the name or address in it.
func TestSelfSigned(t *testing.T) {
	for _, host := range []string{"relay.test", "127.0.0.1"} {
		s, err := SelfSigned(host, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Serve(storeKey); err != nil {
			t.Fatal(err)
		}
		s.look(time.Now().Add(metaEvery + time.Minute)) // there are no files to look at
		chain := storeServes(t, s, "whatever.example.com")
		if err := chain[0].VerifyHostname(host); err != nil {
			t.Error(err)
		}
		if err := chain[0].CheckSignature(chain[0].SignatureAlgorithm,
			chain[0].RawTBSCertificate, chain[0].Signature); err != nil {
			t.Errorf("not signed by itself: %v", err)
		}
	}
}

// TestEndIsTold: at the start and once a day, when less than 30 days or a quarter of its life is
// left, until the certificate is replaced.
func TestEndIsTold(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	manual, manualLog := manualStore(t, dir, storeHost)
	var memoryLog bytes.Buffer
	memory, err := SelfSigned(storeHost, slog.New(slog.NewTextHandler(&memoryLog, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		s      *Store
		logged *bytes.Buffer
		remedy string
	}{{manual, manualLog, "without a restart"}, {memory, &memoryLog, "restart derpd"}} {
		if _, err := tc.s.Serve(storeKey); err != nil {
			t.Fatal(err)
		}
		end := tc.s.NotAfter()
		for _, step := range []struct {
			left  time.Duration
			lines int
			part  string
		}{
			{30 * day, 0, ""}, {30*day - time.Second, 1, "about to end"}, {29*day + time.Hour, 0, ""},
			{29*day - time.Second, 1, tc.remedy}, {-time.Second, 1, "has ended"},
			{-time.Hour, 0, ""}, {-day - time.Hour, 1, "has ended"},
		} {
			tc.logged.Reset()
			tc.s.tellEnd(end.Add(-step.left))
			if log := tc.logged.String(); strings.Count(log, "level=WARN") != step.lines ||
				!strings.Contains(log, step.part) {
				t.Errorf("%v before the end: %q, want %d lines with %q", step.left, log, step.lines,
					step.part)
			}
		}
	}
	// A pair of six days is renewed, by those who have such ones, when two are left.
	leaf := *manual.current.Load().Leaf
	leaf.NotBefore = leaf.NotAfter.Add(-6 * day)
	manual.current.Load().Leaf = &leaf
	manual.endTold = time.Time{}
	for left, lines := range map[time.Duration]int{2 * day: 0, day: 1} {
		manualLog.Reset()
		manual.tellEnd(leaf.NotAfter.Add(-left))
		if n := strings.Count(manualLog.String(), "level=WARN"); n != lines {
			t.Errorf("%v before the end of six days: %d warnings, want %d", left, n, lines)
		}
	}
}

// TestEndIsToldByItself: at the start, and by Watch; a new pair ends that.
func TestEndIsToldByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		storePair(t, dir, storeHost)
		time.Sleep(selfSignedFor - 2*day)
		var logged bytes.Buffer
		s, err := Manual(dir, storeHost, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Serve(storeKey); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Watch(ctx); close(ended) }()
		for n := range 2 {
			synctest.Wait()
			if got := strings.Count(logged.String(), "level=WARN"); got != n+1 {
				t.Errorf("%d warnings after %d days: %s", got, n, &logged)
			}
			time.Sleep(day + lookEvery)
		}
		storePair(t, dir, storeHost)
		storeMoved(t, dir, storeHost, time.Now())
		time.Sleep(lookEvery)
		synctest.Wait()
		logged.Reset()
		time.Sleep(3 * day)
		synctest.Wait()
		if strings.Contains(logged.String(), "WARN") {
			t.Errorf("replaced, and still told: %s", &logged)
		}
		cancel()
		<-ended
	})
}

// TestWatchEnds with its context.
func TestWatchEnds(t *testing.T) {
	dir := t.TempDir()
	storePair(t, dir, storeHost)
	s, _ := manualStore(t, dir, storeHost)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(t.Context())
	}()
	t.Cleanup(func() { <-ended }) // the test's context is done by now
}
