package derp

import (
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/cloudflare/circl/dh/x25519"
)

// PrivateKey is the secret half of a Key. Formatting it with any verb of package fmt, or
// logging it, prints a fixed text; only MarshalText reveals it.
type PrivateKey [32]byte

const (
	privatePrefix = "privkey:"
	hiddenPrivate = "privkey:(hidden)"
	hiddenMesh    = "meshkey:(hidden)"
)

// NewPrivateKey makes a key from 32 bytes of rand, which must be a cryptographic source,
// clamped as RFC 7748 §5 says. The error is rand's.
func NewPrivateKey(rand io.Reader) (PrivateKey, error) {
	var p PrivateKey
	if _, err := io.ReadFull(rand, p[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("derp: no random bytes for a new private key: %w", err)
	}
	p[0] &= 248
	p[31] = p[31]&127 | 64
	return p, nil
}

// ParsePrivateKey reads MarshalText's form: "privkey:" and 64 hexadecimal digits. The bytes
// stay as they are; X25519 clamps when it uses them. The zero key is refused, since it is
// an unset variable and everybody knows it. Errors never contain s.
func ParsePrivateKey(s string) (PrivateKey, error) {
	var p PrivateKey
	if err := parseHex(p[:], s, privatePrefix); err != nil {
		return PrivateKey{}, err
	}
	if p.IsZero() {
		return PrivateKey{}, fmt.Errorf("derp: a private key of zeros is no secret")
	}
	return p, nil
}

// Public computes the public key (about 22 µs).
func (p PrivateKey) Public() Key {
	var public x25519.Key
	secret := x25519.Key(p)
	x25519.KeyGen(&public, &secret)
	return Key(public)
}

// IsZero reports whether p is unset.
func (p PrivateKey) IsZero() bool {
	var zero PrivateKey
	return subtle.ConstantTimeCompare(p[:], zero[:]) == 1
}

// MarshalText returns the secret itself: "privkey:" and 64 hexadecimal digits, the form of
// the key file.
func (p PrivateKey) MarshalText() ([]byte, error) {
	return hex.AppendEncode([]byte(privatePrefix), p[:]), nil
}

// UnmarshalText is ParsePrivateKey.
func (p *PrivateKey) UnmarshalText(b []byte) error {
	parsed, err := ParsePrivateKey(string(b))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// String returns a fixed text, never the key.
func (p PrivateKey) String() string { return hiddenPrivate }

// Format keeps the key out of every verb, %d and %#v too.
func (p PrivateKey) Format(f fmt.State, _ rune) { io.WriteString(f, hiddenPrivate) }

// LogValue keeps the key out of structured logs.
func (p PrivateKey) LogValue() slog.Value { return slog.StringValue(hiddenPrivate) }

// MeshKey is the secret that the servers of a region, and privileged clients, share. Zero
// is none. Compare with Equal, never with ==. Only its JSON form reveals it.
type MeshKey [32]byte

// ParseMeshKey reads 64 hexadecimal digits, with white space around them allowed, as in a
// file that ends in a newline. Errors never contain s.
func ParseMeshKey(s string) (MeshKey, error) {
	var m MeshKey
	if err := parseHex(m[:], strings.TrimSpace(s), ""); err != nil {
		return MeshKey{}, fmt.Errorf("mesh key: %w", err)
	}
	return m, nil
}

// IsZero reports whether there is no mesh key.
func (m MeshKey) IsZero() bool { return m.Equal(MeshKey{}) }

// Equal compares in constant time. Two zero keys are equal, so a server without a mesh key
// must ask IsZero first.
func (m MeshKey) Equal(other MeshKey) bool {
	return subtle.ConstantTimeCompare(m[:], other[:]) == 1
}

// MarshalJSON returns the secret itself, 64 hexadecimal digits in quotes, as a login
// carries it.
func (m MeshKey) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 2+2*len(m)), '"')
	return append(hex.AppendEncode(b, m[:]), '"'), nil
}

// UnmarshalJSON takes exactly 64 hexadecimal digits in quotes. An empty string, null and
// white space are errors, so that a login with a broken mesh key is refused instead of
// becoming an ordinary client's.
func (m *MeshKey) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("mesh key: derp: must be a string of 64 hexadecimal digits")
	}
	var parsed MeshKey
	if err := parseHex(parsed[:], s, ""); err != nil {
		return fmt.Errorf("mesh key: %w", err)
	}
	*m = parsed
	return nil
}

// String returns a fixed text, never the key.
func (m MeshKey) String() string { return hiddenMesh }

// Format keeps the key out of every verb.
func (m MeshKey) Format(f fmt.State, _ rune) { io.WriteString(f, hiddenMesh) }

// LogValue keeps the key out of structured logs.
func (m MeshKey) LogValue() slog.Value { return slog.StringValue(hiddenMesh) }
