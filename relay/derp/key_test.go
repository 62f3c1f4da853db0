package derp

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

func newKey(t testing.TB) PrivateKey {
	t.Helper()
	p, err := NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKeyForms(t *testing.T) {
	k := seqKey(0)
	if got := k.String(); got != "nodekey:"+seq00 {
		t.Errorf("String is %q", got)
	}
	if got := k.Short(); got != "[AAECA]" { // base64 of 00 01 02 03 …
		t.Errorf("Short is %q", got)
	}
	if got := (Key{}).Short(); got != "" {
		t.Errorf("Short of the zero key is %q", got)
	}
	if k.IsZero() || !(Key{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	text, err := json.Marshal(map[Key]Key{k: k})
	want := `{"nodekey:` + seq00 + `":"nodekey:` + seq00 + `"}`
	if string(text) != want || err != nil {
		t.Errorf("JSON is %s, %v", text, err)
	}
	var back map[Key]Key
	if err := json.Unmarshal(text, &back); err != nil || back[k] != k {
		t.Errorf("back from JSON: %v, %v", back, err)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, s := range []string{"", seq00, "nodekey:", "nodekey:" + seq00[1:],
		"nodekey:" + seq00 + "0", "nodekey:" + seq00[:63] + "g", "nodekey: " + seq00[1:],
		"privkey:" + seq00} {
		if k, err := ParseKey(s); err == nil || strings.Contains(err.Error(), seq00[1:]) {
			t.Errorf("ParseKey(%q) is %v, %v", s, k, err)
		}
	}
	k := seqKey(7)
	if err := k.UnmarshalText([]byte("x")); err == nil || k != seqKey(7) {
		t.Errorf("a refused text changed the key to %v", k)
	}
	if k, err := ParseKey("nodekey:" + strings.ToUpper(seq40)); k != seqKey(0x40) || err != nil {
		t.Errorf("capitals: %v, %v", k, err)
	}
}

func TestNewPrivateKey(t *testing.T) {
	p, err := NewPrivateKey(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	if err != nil || p[0] != 0xf8 || p[31] != 0x7f {
		t.Errorf("not clamped: %x … %x, %v", p[0], p[31], err)
	}
	p, err = NewPrivateKey(bytes.NewReader(make([]byte, 32)))
	if err != nil || p[31] != 0x40 {
		t.Errorf("not clamped: %x, %v", p[31], err)
	}
	if _, err := NewPrivateKey(iotest.ErrReader(errors.New("dry"))); err == nil {
		t.Error("a dry source of randomness is no error")
	}
}

// Against crypto/ecdh, clamped keys and others.
func TestPublic(t *testing.T) {
	for _, p := range []PrivateKey{newKey(t), newKey(t), PrivateKey(seqKey(0x40)),
		PrivateKey(seqKey(0xf1))} {
		oracle, err := ecdh.X25519().NewPrivateKey(p[:])
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Public(); !bytes.Equal(got[:], oracle.PublicKey().Bytes()) {
			t.Errorf("public key %v, want %x", got, oracle.PublicKey().Bytes())
		}
	}
}

func TestPrivateKeyText(t *testing.T) {
	p, err := ParsePrivateKey("privkey:" + seq40)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := p.MarshalText(); string(text) != "privkey:"+seq40 || err != nil {
		t.Errorf("the bytes did not stay as they were: %s, %v", text, err)
	}
	for _, s := range []string{"", seq40, "privkey:" + seq40[2:], "privkey:" + seq40[:63] + "x",
		"nodekey:" + seq40, "privkey:" + strings.Repeat("0", 64)} {
		_, err := ParsePrivateKey(s)
		if err == nil || strings.Contains(err.Error(), seq40[2:60]) {
			t.Errorf("ParsePrivateKey(%q): %v", s, err)
		}
	}
}

// No verb and no log handler may print a secret, not even as numbers.
func TestSecretsStayHidden(t *testing.T) {
	p, m := PrivateKey(seqKey(0x40)), MeshKey(seqKey(0x40))
	leaks := []string{"40414243", "64 65 66", "0x40, 0x41", "@ABC", "QEFCQ"}
	check := func(how, out string) {
		t.Helper()
		for _, leak := range leaks {
			if strings.Contains(out, leak) {
				t.Errorf("%s prints %q", how, out)
			}
		}
		if !strings.Contains(out, "(hidden)") {
			t.Errorf("%s prints %q, which does not say that something is hidden", how, out)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c"} {
		check(verb, fmt.Sprintf(verb, p))
		check(verb, fmt.Sprintf(verb, &p))
		check(verb, fmt.Sprintf(verb, m))
		check(verb, fmt.Sprintf(verb, ClientInfo{MeshKey: m}))
		check(verb, fmt.Sprintf(verb, struct{ K PrivateKey }{p}))
	}
	check("String", p.String()+m.String())
	for _, h := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(h(&b)).Info("x", "private", p, "mesh", m)
		check("slog", b.String())
	}
}

func TestMeshKey(t *testing.T) {
	m, err := ParseMeshKey(" \t" + seq00 + "\r\n")
	if err != nil || m != MeshKey(seqKey(0)) {
		t.Fatalf("white space around a mesh key: %v", err)
	}
	if !m.Equal(m) || m.Equal(MeshKey{}) || m.IsZero() || !(MeshKey{}).IsZero() {
		t.Error("Equal or IsZero is wrong")
	}
	for _, s := range []string{"", seq00[1:], seq00 + "0", seq00[:63] + "g"} {
		if _, err := ParseMeshKey(s); err == nil || strings.Contains(err.Error(), seq00[1:60]) {
			t.Errorf("ParseMeshKey(%q): %v", s, err)
		}
	}
}
