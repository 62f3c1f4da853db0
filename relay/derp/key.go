package derp

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Key is a node's public key (X25519). It names a client or a server; it is no secret.
type Key [KeyLen]byte

const keyPrefix = "nodekey:"

// ParseKey reads the form that String writes: "nodekey:" and 64 hexadecimal digits.
func ParseKey(s string) (Key, error) {
	var k Key
	err := parseHex(k[:], s, keyPrefix)
	return k, err
}

// String returns "nodekey:" and 64 hexadecimal digits, the form that tailscaled's whois and
// admission URLs use.
func (k Key) String() string { return keyPrefix + k.Hex() }

// Hex returns the bare 64 hexadecimal digits, as the Derp-Public-Key header has them.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// Short returns the first five characters of the key's base64 form in brackets, by which
// Tailscale's logs and `tailscale debug` name nodes; empty for the zero key.
func (k Key) Short() string {
	if k.IsZero() {
		return ""
	}
	var b [8]byte
	base64.StdEncoding.Encode(b[:], k[:4])
	return "[" + string(b[:5]) + "]"
}

// IsZero reports whether k is no key at all.
func (k Key) IsZero() bool { return k == Key{} }

// MarshalText returns String's form.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(b []byte) error {
	parsed, err := ParseKey(string(b))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// parseHex fills dst from s, which must be prefix and exactly 2*len(dst) hexadecimal
// digits. Its errors never repeat s, because s may be a secret.
func parseHex(dst []byte, s, prefix string) error {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return fmt.Errorf("derp: a key must begin with %q", prefix)
	}
	what := "a key"
	if prefix != "" {
		what = fmt.Sprintf("a key after %q", prefix)
	}
	if len(digits) != 2*len(dst) {
		return fmt.Errorf("derp: %s must be %d hexadecimal digits, not %d characters",
			what, 2*len(dst), len(digits))
	}
	if _, err := hex.Decode(dst, []byte(digits)); err != nil {
		return fmt.Errorf("derp: %s must be %d hexadecimal digits; other characters found",
			what, 2*len(dst))
	}
	return nil
}
