package tlsengine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// TestExportAtEveryByte hands a stream over to a new session at every byte of it: between records,
// within one (its first part stays with the caller), within a message, with an answer owed.
func TestExportAtEveryByte(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		stream := func(s *Session) []byte {
			out := sealed(s, nil, []byte("one"))
			out = sealedAs(s, out, recordData, nil)
			if su.version == v13 {
				update := []byte{msgKeyUpdate, 0, 0, 1, 1}
				out = sealedAs(s, out, recordHandshake, update[:2])
				out = sealedAs(s, out, recordHandshake, update[2:4])
				out = sealedAs(s, out, recordHandshake, update[4:])
				s.roll(&s.seal)
			}
			return sealed(s, out, []byte("two"))
		}
		client, _ := mustPair(t, su)
		for k := range len(stream(client)) + 1 {
			client, server := mustPair(t, su)
			bytesIn := stream(client)
			var r recordReader
			r.feed(t, server, bytesIn[:k])
			exported, err := server.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			server.Wipe()
			var next Session
			if err := next.UnmarshalBinary(exported); err != nil {
				t.Fatalf("cut at %d: %v", k, err)
			}
			r.feed(t, &next, bytesIn[k:])
			if r.plain.String() != "onetwo" || next.idle != 0 {
				t.Fatalf("cut at %d: %q", k, r.plain.String())
			}
			if want := map[bool]int{true: 1, false: 0}[su.version == v13]; pass(t, &next, client) != want {
				t.Fatalf("cut at %d: answer lost", k)
			}
			if err := exchange(&next, client); err != nil {
				t.Fatalf("cut at %d: %v", k, err)
			}
		}
	})
}

// recordReader cuts a stream into records, as a loop does.
type recordReader struct {
	partial []byte
	plain   bytes.Buffer
}

func (r *recordReader) feed(t *testing.T, s *Session, b []byte) {
	t.Helper()
	r.partial = append(r.partial, b...)
	for {
		n, err := RecordLen(r.partial)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || n > len(r.partial) {
			return
		}
		plain, err := s.Open(r.partial[:n])
		if err != nil {
			t.Fatal(err)
		}
		r.plain.Write(plain)
		r.partial = r.partial[n:]
	}
}

func TestImportRefuses(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		_, server := mustPair(t, su)
		good, err := server.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(b []byte) []byte{
			"nothing":        func(b []byte) []byte { return nil },
			"magic":          func(b []byte) []byte { b[0]++; return b },
			"format":         func(b []byte) []byte { b[3]++; return b },
			"version":        func(b []byte) []byte { b[5]--; return b },
			"suite":          func(b []byte) []byte { b[6] ^= 0x80; return b },
			"short":          func(b []byte) []byte { return b[:len(b)-1] },
			"long":           func(b []byte) []byte { return append(b, 0) },
			"explicit nonce": func(b []byte) []byte { b[8] ^= byte(flagExplicit); return b },
			"idle":           func(b []byte) []byte { b[9] = idleRecordsMax + 1; return b },
			"message":        func(b []byte) []byte { b[10] = 5; return b },
			"message header": func(b []byte) []byte { b[10] = 4; return b },
			"skip":           func(b []byte) []byte { b[18] = 1; return b },
			"sequence": func(b []byte) []byte {
				binary.BigEndian.PutUint64(b[exportHeaderLen:], sequenceMax+1)
				return b
			},
		} {
			s := Session{version: 1}
			if err := s.UnmarshalBinary(change(bytes.Clone(good))); !errors.Is(err, ErrImport) {
				t.Errorf("%s: %v", name, err)
			}
			if s != (Session{version: 1}) {
				t.Errorf("%s: session was changed", name)
			}
		}
	})
}
