package tlsengine

import (
	"bytes"
	"errors"
	"testing"
)

// lowerRekey makes keys old after n records, for the time of a test.
func lowerRekey(t *testing.T, n uint64) {
	t.Helper()
	old := rekeyRecords
	rekeyRecords = n
	t.Cleanup(func() { rekeyRecords = old })
}

// pass seals one message, with control ahead of it if due, and opens all at the other side.
func pass(t *testing.T, from, to *Session) (updates int) {
	t.Helper()
	var out []byte
	if from.NeedsSend() {
		updates++
		out = from.AppendControl(out)
	}
	if from.NeedsSend() {
		t.Fatal("control wants to be sent after it was")
	}
	out = sealed(from, out, []byte("message"))
	for len(out) > 0 {
		n, err := RecordLen(out)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := to.Open(out[:n])
		if err != nil || plain != nil && string(plain) != "message" {
			t.Fatalf("%q, %v", plain, err)
		}
		out = out[n:]
	}
	return updates
}

// TestKeyUpdateDue: every key lasts a number of records, and the peer needs no part in that.
func TestKeyUpdateDue(t *testing.T) {
	lowerRekey(t, 5)
	for i := range suites {
		su := &suites[i]
		client, server := mustPair(t, su)
		updates := 0
		for range 20 {
			updates += pass(t, client, server)
		}
		want := 3 // before messages 6, 11 and 16
		if su.version == v12 {
			want = 0
		}
		if updates != want {
			t.Errorf("%s: %d updates in 20 messages, want %d", su.name(), updates, want)
		}
	}
}

// TestKeyUpdateAsked: a peer that never starts an update, as crypto/tls, is asked, once, and a
// reader that never writes says so too.
func TestKeyUpdateAsked(t *testing.T) {
	client, server := mustPair(t, suite13(t))
	lowerRekey(t, 5)
	for range 5 {
		rec := sealed(client, nil, []byte("message"))
		client.flags &^= flagRekey // as if the client had no such limit
		if _, err := server.Open(rec); err != nil {
			t.Fatal(err)
		}
	}
	if !server.NeedsSend() {
		t.Fatal("an old key does not bother the reader")
	}
	update := server.AppendControl(nil)
	for range 3 { // on their way meanwhile
		rec := sealed(client, nil, []byte("message"))
		if _, err := server.Open(rec); err != nil {
			t.Fatal(err)
		}
		if server.NeedsSend() {
			t.Fatal("asked twice")
		}
	}
	client.flags &^= flagRekey
	if plain, err := client.Open(update); plain != nil || err != nil {
		t.Fatal(err)
	}
	if !client.NeedsSend() {
		t.Fatal("the request is not answered")
	}
	if pass(t, client, server) != 1 || server.flags&flagAsked != 0 || server.NeedsSend() {
		t.Error("the answer does not settle it")
	}
	if err := exchange(client, server); err != nil {
		t.Error(err)
	}
}

// TestKeyUpdateAnswer: requests are answered once, however many came.
func TestKeyUpdateAnswer(t *testing.T) {
	client, server := mustPair(t, suite13(t))
	for range 3 {
		rec := sealedAs(client, nil, recordHandshake, []byte{msgKeyUpdate, 0, 0, 1, 1})
		client.roll(&client.seal)
		if plain, err := server.Open(rec); plain != nil || err != nil {
			t.Fatal(err)
		}
	}
	if pass(t, server, client) != 1 || pass(t, server, client) != 0 {
		t.Error("three requests want one answer")
	}
	if pass(t, client, server) != 0 {
		t.Error("an answer was answered")
	}
}

// TestKeyUpdateFlood: KeyUpdates of keys that were hardly used are refused in the end, whatever
// little data stands between them, and though dropping ciphers makes a session forget.
func TestKeyUpdateFlood(t *testing.T) {
	for name, tc := range map[string]struct {
		data  func(n int) int // records of data ahead of the n-th KeyUpdate
		allow int             // KeyUpdates that pass; -1: any number
	}{
		"one byte for sixteen": {func(n int) int {
			if n%idleRecordsMax == 0 {
				return 1
			}
			return 0
		}, unpaidKeyUpdatesMax},
		"nearly paid":   {func(int) int { return recordsPerKeyUpdate - 2 }, unpaidKeyUpdatesMax},
		"paid":          {func(int) int { return recordsPerKeyUpdate - 1 }, -1},
		"every 8 of 32": {func(n int) int { return 8 + n%2*(recordsPerKeyUpdate+8) }, -1},
		"one of sixteen is paid": {func(n int) int { // it pays for itself and for no other
			if n%idleRecordsMax == idleRecordsMax-1 {
				return recordsPerKeyUpdate
			}
			return 0
		}, unpaidKeyUpdatesMax + unpaidKeyUpdatesMax/idleRecordsMax},
	} {
		client, server := mustPair(t, suite13(t))
		passed := 0
		var err error
		for ; err == nil && passed < 10*unpaidKeyUpdatesMax; passed++ {
			for range tc.data(passed) {
				if _, err := server.Open(sealed(client, nil, []byte{1})); err != nil {
					t.Fatalf("%s: data ahead of KeyUpdate %d: %v", name, passed, err)
				}
			}
			client.flags |= flagRekey
			if _, err = server.Open(client.AppendControl(nil)); err != nil {
				break
			}
			server.DropCiphers()
		}
		if tc.allow < 0 && err != nil ||
			tc.allow >= 0 && (passed != tc.allow || !errors.Is(err, ErrTooManyKeyUpdates)) {
			t.Errorf("%s: %d KeyUpdates passed, want %d; then %v", name, passed, tc.allow, err)
		}
	}
}

// TestKeyUpdateCreditIsNotSaved: many records pay for all that is owed, and for nothing ahead.
func TestKeyUpdateCreditIsNotSaved(t *testing.T) {
	client, server := mustPair(t, suite13(t))
	update := func() error {
		client.flags |= flagRekey
		_, err := server.Open(client.AppendControl(nil))
		return err
	}
	data := func(n int) {
		for range n {
			if _, err := server.Open(sealed(client, nil, []byte{1})); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		for range unpaidKeyUpdatesMax {
			data(1) // so that they are not too many in a row
			if err := update(); err != nil {
				t.Fatal(err)
			}
		}
		data(2 * (unpaidKeyUpdatesMax + 1) * recordsPerKeyUpdate)
		if err := update(); err != nil || server.unpaid != 0 {
			t.Fatalf("%d are still owed, %v", server.unpaid, err)
		}
	}
}

// TestSplitMessages cuts a run of tickets and a KeyUpdate into two records at every byte.
func TestSplitMessages(t *testing.T) {
	ticket := append([]byte{msgNewSessionTicket, 0, 0, 20}, pattern(20)...)
	messages := append(append(bytes.Clone(ticket), ticket...), msgKeyUpdate, 0, 0, 1, 0)
	for k := 1; k < len(messages); k++ {
		client, server := mustPair(t, suite13(t))
		for _, part := range [][]byte{messages[:k], messages[k:]} {
			rec := sealedAs(server, nil, recordHandshake, part)
			if plain, err := client.Open(rec); plain != nil || err != nil {
				t.Fatalf("cut at %d: %v", k, err)
			}
		}
		server.roll(&server.seal)
		pass(t, server, client)

		// Nothing may come between the parts.
		client, server = mustPair(t, suite13(t))
		inside := k != 24 && k != 48
		for i, rec := range [][]byte{
			sealedAs(server, nil, recordHandshake, messages[:k]),
			sealed(server, nil, []byte("data")),
		} {
			_, err := client.Open(rec)
			if want := inside && i == 1; (err != nil) != want || want && !errors.Is(err, ErrUnexpected) {
				t.Fatalf("cut at %d, record %d: %v", k, i, err)
			}
		}
	}
}

// TestTicketTooLong: a ticket is skipped, but not one without end.
func TestTicketTooLong(t *testing.T) {
	for _, header := range [][]byte{{msgNewSessionTicket, 1, 0, 1}, {msgNewSessionTicket, 0, 0, 0}} {
		client, server := mustPair(t, suite13(t))
		rec := sealedAs(server, nil, recordHandshake, header)
		if _, err := client.Open(rec); !errors.Is(err, ErrDecode) {
			t.Errorf("%x: %v", header, err)
		}
	}
	client, server := mustPair(t, suite13(t))
	rec := sealedAs(server, nil, recordHandshake, []byte{msgNewSessionTicket, 1, 0, 0})
	for range 4 {
		if _, err := client.Open(rec); err != nil {
			t.Fatal(err)
		}
		rec = sealedAs(server, nil, recordHandshake, make([]byte, 1<<14))
	}
	if _, err := client.Open(rec); err != nil || client.handSkip != 0 {
		t.Errorf("64 KiB: %d left, %v", client.handSkip, err)
	}
	pass(t, server, client)
}
