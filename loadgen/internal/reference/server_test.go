package reference

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen/scrape"
	"derpd/relay/derp"
)

func TestDelivers(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, fast := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %v fast %v", secure, fast), func(t *testing.T) {
				s := Start(t, Options{TLS: secure, NoFastStart: secure && !fast})
				a, b := connect(t, s, fast), connect(t, s, fast)
				a.sync()
				for i := range 20 {
					content := strings.Repeat("x", 1000*i)
					a.send(b, content)
					if src, got := b.receive(); src != a.key || got != content {
						t.Fatalf("%d bytes from %v, want %d from %v", len(got), src, len(content),
							a.key)
					}
				}
				a.send(a, "self")
				if src, got := a.receive(); src != a.key || got != "self" {
					t.Errorf("%q from %v", got, src)
				}
				st := settle(t, s, 21)
				if st.Logins != 2 || st.Clients != 2 || st.Delivered != 21 || len(st.Dropped) != 0 ||
					st.Late.Count() != 21 {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// TestDelay measures from the client's write to its read: half of the packets meet the delay within
// 2 %. None is early. A machine that is wanted by others gets more chances, spread over a time in
// which they may be done.
func TestDelay(t *testing.T) {
	const delay, patient = 25 * time.Millisecond, 20 * time.Second
	for _, secure := range []bool{false, true} {
		until := time.Now().Add(patient)
		for try := time.Duration(1); ; try++ {
			s := Start(t, Options{TLS: secure, Delay: delay})
			took := measure(t, s)
			half := took[len(took)/2]
			late := s.Stats().Late
			t.Logf("TLS %v: %v, %v, %v of %v; the server was late by %v, %v, %v", secure, took[0],
				half, took[len(took)*9/10], delay, late.At(50), late.At(90), late.Max())
			if least := delay - 20*time.Microsecond; took[0] < least {
				t.Errorf("TLS %v: a packet took %v, less than %v", secure, took[0], least)
			}
			if half <= delay+delay/50 && late.At(50) <= 50*time.Microsecond {
				break
			}
			s.Close()
			if time.Now().After(until) {
				t.Errorf("TLS %v: half of the packets took more than %v instead of %v", secure, half,
					delay)
				break
			}
			time.Sleep(try * 200 * time.Millisecond)
		}
	}
}

// measure returns how long each of many packets took, the quickest first.
func measure(t *testing.T, s *Server) []time.Duration {
	t.Helper()
	const packets = 200
	a, b := connect(t, s, true), connect(t, s, true)
	sent := make(chan time.Time, packets)
	go func() {
		for i := range packets {
			time.Sleep(time.Duration(500+i*7) * time.Microsecond)
			sent <- time.Now()
			// A failure shows as a packet that does not come.
			_, _ = a.conn.Write(derp.AppendSendPacket(nil, b.key, []byte{byte(i)}))
		}
	}()
	took := make([]time.Duration, packets)
	for i := range packets {
		_, got := b.receive()
		now := time.Now()
		if got != string([]byte{byte(i)}) {
			t.Fatalf("packet %q in place %d", got, i)
		}
		took[i] = now.Sub(<-sent)
	}
	slices.Sort(took)
	return took
}

// While stalled nothing is delivered but a Ping is answered; then all that was due is, in order, and
// it goes on. Where other programs hold a Ping up for longer than the stall, a longer one tells.
func TestStall(t *testing.T) {
	for _, stall := range []time.Duration{200 * time.Millisecond, time.Second, 4 * time.Second} {
		if outlasts(t, stall) {
			return
		}
	}
	t.Error("a Ping waits for the end of each stall")
}

// outlasts tells whether the stall was longer than a Ping in it took, and then checks the rest.
func outlasts(t *testing.T, stall time.Duration) bool {
	s := Start(t, Options{Delay: time.Millisecond})
	a, b := connect(t, s, true), connect(t, s, true)
	a.send(b, "before")
	b.receive()
	began := time.Now()
	s.Stall(stall)
	for i := range 5 {
		a.send(b, fmt.Sprint(i))
	}
	a.sync() // which is not stalled
	if took := time.Since(began); took > stall {
		t.Logf("a Ping took %v in a stall of %v", took, stall)
		return false
	}
	for i := range 5 {
		if _, got := b.receive(); got != fmt.Sprint(i) {
			t.Errorf("packet %q in place %d", got, i)
		}
		if took := time.Since(began); took < stall || took > stall+patience/2 {
			t.Errorf("packet %d came %v after the beginning of the stall", i, took)
		}
	}
	if st := settle(t, s, 6); st.Late.Count() != 1 {
		t.Errorf("packets of the stall count as late: %d", st.Late.Count())
	}
	began = time.Now()
	a.send(b, "after")
	b.receive()
	if took := time.Since(began); took > stall {
		t.Errorf("%v after the stall", took)
	}
	return true
}

// discoPacket looks like path discovery.
var discoPacket = "TS\xf0\x9f\x92\xac" + strings.Repeat("d", 80)

func TestDropsAreKnown(t *testing.T) {
	s := Start(t, Options{TLS: true, DropEvery: 5})
	a, b := connect(t, s, true), connect(t, s, true)
	got := 0
	for i := range 40 {
		content := "w"
		if i%10 == 4 {
			content = discoPacket
		}
		a.send(b, content)
		if i%5 != 4 {
			b.receive()
			got++
		}
	}
	a.send(&peer{key: derp.Key{1}}, "to nobody")
	st := settle(t, s, 41)
	want := map[string]uint64{"queue_head": 8, "unknown_dest": 1}
	if got != 32 || st.Delivered != 32 || !maps.Equal(st.Dropped, want) {
		t.Errorf("%d delivered, %+v", got, st)
	}
	m, err := scrape.Read(t.Context(), s.Target())
	if err != nil {
		t.Fatal(err)
	}
	want["gone_disconnected"] = 0
	if !maps.Equal(m.Dropped, want) || m.Clients != 2 || m.Connections != 2 ||
		m.Received != 41 || m.Sent != 32 {
		t.Errorf("the page says %+v", m)
	}
	if page := s.varz(); !strings.Contains(page, `{reason="queue_head",kind="disco"} 4`+"\n") ||
		!strings.Contains(page, `{reason="queue_head",kind="other"} 4`+"\n") {
		t.Errorf("the kinds are not told apart:\n%s", page)
	}
}

func TestDropShare(t *testing.T) {
	const packets, share = 4000, 0.1
	drops := map[uint64]uint64{}
	for _, seed := range []uint64{1, 1, 2} {
		s := Start(t, Options{DropShare: share, Seed: seed})
		a, b := connect(t, s, true), connect(t, s, true)
		go io.Copy(io.Discard, b.in)
		for range packets {
			a.send(b, "x")
		}
		st := settle(t, s, packets)
		n := st.Dropped["queue_head"]
		// Five standard deviations of a binomial distribution.
		if off := math.Abs(float64(n) - packets*share); off > 5*math.Sqrt(packets*share*(1-share)) {
			t.Errorf("%d of %d dropped", n, packets)
		}
		if before, ok := drops[seed]; ok && n != before {
			t.Errorf("seed %d drops %d and %d", seed, before, n)
		}
		drops[seed] = n
	}
	if drops[1] == drops[2] {
		t.Errorf("two seeds drop %d each", drops[1])
	}
}

func TestPlannedWrongs(t *testing.T) {
	s := Start(t, Options{CorruptEvery: 3})
	a, b := connect(t, s, true), connect(t, s, true)
	for i := range 6 {
		a.send(b, "abcd")
		if _, got := b.receive(); (got == "abbd") != (i%3 == 2) || got != "abcd" && got != "abbd" {
			t.Errorf("packet %d is %q", i, got)
		}
	}
	if st := settle(t, s, 6); st.Corrupted != 2 {
		t.Errorf("%+v", st)
	}

	s = Start(t, Options{DuplicateEvery: 2})
	a, b = connect(t, s, true), connect(t, s, true)
	for i := range 4 {
		a.send(b, fmt.Sprint(i))
	}
	for _, want := range []string{"0", "1", "1", "2", "3", "3"} {
		if _, got := b.receive(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if st := settle(t, s, 4); st.Duplicated != 2 || st.Delivered != 6 {
		t.Errorf("%+v", st)
	}

	s = Start(t, Options{MisdirectEvery: 2})
	a, b = connect(t, s, true), connect(t, s, true)
	a.send(b, "right")
	a.send(b, "astray")
	if _, got := b.receive(); got != "right" {
		t.Errorf("got %q", got)
	}
	if src, got := a.receive(); got != "astray" || src != a.key {
		t.Errorf("got %q from %v", got, src)
	}
	if st := settle(t, s, 2); st.Misdirected != 1 {
		t.Errorf("%+v", st)
	}
}

// The third packet comes behind the next of its kind; one that nobody follows comes late, in order.
func TestReorder(t *testing.T) {
	s := Start(t, Options{TLS: true, ReorderEvery: 3, Delay: 2 * time.Millisecond})
	a, b := connect(t, s, true), connect(t, s, true)
	all := []string{"1", "2", "3", discoPacket, "5", "6"} // disco overtakes nothing but disco
	for _, content := range all {
		a.send(b, content)
	}
	for _, want := range []string{"1", "2", discoPacket, "5", "3", "6"} {
		if _, got := b.receive(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if st := settle(t, s, 6); st.Reordered != 1 || st.Late.Count() != 4 {
		t.Errorf("%+v, %d", st, st.Late.Count())
	}
}

// A receiver that does not read costs nobody else anything, and its drops are counted.
func TestReceiverThatDoesNotRead(t *testing.T) {
	s := Start(t, Options{TLS: true})
	a, deaf, b := connect(t, s, true), connect(t, s, true), connect(t, s, true)
	var sent uint64
	for big := strings.Repeat("x", 60_000); s.Stats().Dropped["queue_head"] < 5; sent++ {
		a.send(deaf, big)
		a.sync()
		if sent > 2000 {
			t.Fatalf("%d packets sent and nothing dropped: %+v", sent, s.Stats())
		}
	}
	a.send(b, "hello")
	if _, got := b.receive(); got != "hello" {
		t.Errorf("got %q", got)
	}
	st := settle(t, s, sent+1)
	// What was taken comes, whole, when it reads after all.
	for range st.Delivered - 1 {
		if _, got := deaf.receive(); len(got) != 60_000 {
			t.Fatalf("a packet of %d bytes", len(got))
		}
	}
	a.send(deaf, "last")
	if _, got := deaf.receive(); got != "last" {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestReceiverThatLeaves(t *testing.T) {
	s := Start(t, Options{Delay: time.Second})
	a, b := connect(t, s, true), connect(t, s, true)
	a.send(b, "x")
	a.sync()
	b.conn.Close()
	if st := settle(t, s, 1); st.Dropped["gone_disconnected"] != 1 {
		t.Errorf("%+v", st)
	}
	if st := s.Stats(); st.Clients != 1 {
		t.Errorf("%d clients", st.Clients)
	}
}

func TestRefusals(t *testing.T) {
	s := Start(t, Options{RefuseEvery: 2})
	connect(t, s, true)
	p, _ := dial(t, s)
	if err := p.login(s, true); err == nil {
		t.Error("the second login was not refused")
	}
	connect(t, s, false)
	if st := s.Stats(); st.Logins != 2 {
		t.Errorf("%d logins", st.Logins)
	}

	s = Start(t, Options{TLS: true, Status: 500})
	p, _ = dial(t, s)
	if err := p.login(s, false); err == nil ||
		!strings.Contains(err.Error(), "500 Internal Server Error") {
		t.Errorf("with status 500: %v", err)
	}

	s = Start(t, Options{Garbage: true})
	for _, fast := range []bool{true, false} {
		p, _ = dial(t, s)
		if err := p.login(s, fast); err == nil || err == io.EOF {
			t.Errorf("after garbage: %v", err)
		}
	}

	s = Start(t, Options{})
	res, err := http.Get("http://" + s.Addr().String() + "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 404 {
		t.Errorf("another page: %v", res.Status)
	}
}

func TestCutAndGarble(t *testing.T) {
	s := Start(t, Options{})
	p := connect(t, s, true)
	s.Garble()
	if _, _, err := p.frame(); err == nil || !strings.Contains(err.Error(), "2147483648") {
		t.Errorf("garbled: %v", err)
	}
	p = connect(t, s, true)
	s.Cut(false)
	if _, _, err := p.frame(); err != io.EOF {
		t.Errorf("cut in order: %v", err)
	}
	p = connect(t, s, true)
	s.Cut(true)
	if _, _, err := p.frame(); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("cut by reset: %v", err)
	}
	p = connect(t, s, true)
	s.Close()
	if _, _, err := p.frame(); err != io.EOF {
		t.Errorf("closed: %v", err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("it still takes connections")
	}
}

func TestKeepAlive(t *testing.T) {
	s := Start(t, Options{TLS: true, KeepAlive: 20 * time.Millisecond})
	p := connect(t, s, true)
	for range 3 {
		if kind, _, err := p.frame(); err != nil || kind != derp.FrameKeepAlive {
			t.Fatalf("%v, %v", kind, err)
		}
	}
}

// Only a time stamp of the kernel that can be true is believed.
func TestStamped(t *testing.T) {
	now := time.Now()
	control := func(typ int, at time.Time) []byte {
		b := make([]byte, unix.CmsgSpace(16))
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(16)))
		binary.NativeEndian.PutUint32(b[8:], unix.SOL_SOCKET)
		binary.NativeEndian.PutUint32(b[12:], uint32(typ))
		binary.NativeEndian.PutUint64(b[16:], uint64(at.Unix()))
		binary.NativeEndian.PutUint64(b[24:], uint64(at.Nanosecond()))
		return b
	}
	for _, tt := range []struct {
		control []byte
		age     time.Duration
	}{
		{control(unix.SO_TIMESTAMPNS, now.Add(-3*time.Millisecond)), 3 * time.Millisecond},
		{control(unix.SO_TIMESTAMPNS, now.Add(-2*time.Second)), 0},
		{control(unix.SO_TIMESTAMPNS, now.Add(time.Second)), 0},
		{control(unix.SCM_RIGHTS, now.Add(-3*time.Millisecond)), 0},
		{nil, 0},
		{[]byte{1, 2, 3}, 0},
	} {
		if age := now.Sub(stamped(tt.control, now)); age != tt.age {
			t.Errorf("%x: %v ago, want %v", tt.control, age, tt.age)
		}
	}
}
