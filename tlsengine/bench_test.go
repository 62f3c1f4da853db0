package tlsengine

import (
	"fmt"
	"testing"
)

var benchSizes = []int{64, 1400, MaxPlaintext}

func benchSuites(b *testing.B, f func(b *testing.B, su *suite, n int)) {
	for _, i := range []int{0, 1, 2, 3} { // all of TLS 1.3, and AES-128-GCM of 1.2
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", suites[i].name(), n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				f(b, &suites[i], n)
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	benchSuites(b, func(b *testing.B, su *suite, n int) {
		s, _ := mustPair(b, su)
		buf := make([]byte, 0, MaxRecord+64)
		text := pattern(n)
		for b.Loop() {
			start := s.SealStart(buf)
			s.SealFinish(append(start, text...), 0)
		}
	})
}

// BenchmarkOpen includes the copy that restores the record.
func BenchmarkOpen(b *testing.B) {
	benchSuites(b, func(b *testing.B, su *suite, n int) {
		c, s := mustPair(b, su)
		rec := sealed(c, nil, pattern(n))
		buf := make([]byte, len(rec))
		seq := s.open.seq
		for b.Loop() {
			copy(buf, rec)
			s.open.seq = seq
			if _, err := s.Open(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRebuild: the price of DropCiphers, both directions.
func BenchmarkRebuild(b *testing.B) {
	s, _ := mustPair(b, &suites[0])
	b.ReportAllocs()
	for b.Loop() {
		s.DropCiphers()
		s.build(&s.open)
		s.build(&s.seal)
	}
}

// BenchmarkHandshake: client and server together.
func BenchmarkHandshake(b *testing.B) {
	for _, version := range []uint16{v13, v12} {
		b.Run(fmt.Sprintf("%#x", version), func(b *testing.B) {
			sc := serverConfig(ecdsaID())
			sc.MaxVersion = version
			server, client := mustServer(b, sc), mustClient(b, clientConfig(ecdsaID()))
			b.ReportAllocs()
			for b.Loop() {
				var c, s Session
				if err := handshakeInMemory(client, server, &c, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
