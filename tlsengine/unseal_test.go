package tlsengine

import (
	"bytes"
	"crypto/tls"
	"testing"
)

// TestUnseal: records taken back and thrown away leave no gap for the peer.
func TestUnseal(t *testing.T) {
	for _, suite := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256} {
		client, server, err := NewPair(tls.VersionTLS13, suite, bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		seal := func(text string) []byte {
			b := client.SealStart(nil)
			return client.SealFinish(append(b, text...), 0)
		}
		first := seal("first")
		seal("never sent")
		seal("nor this")
		client.Unseal(2)
		for i, rec := range [][]byte{first, seal("second")} {
			plain, err := server.Open(rec)
			if want := []string{"first", "second"}[i]; err != nil || string(plain) != want {
				t.Errorf("record %d opens as %q, %v; want %q", i, plain, err, want)
			}
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("Unseal of more than was sealed does not panic")
				}
			}()
			client.Unseal(3)
		}()
	}
}
