package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// What the hand-over from crypto/tls leans on. Each test here is about crypto/tls alone, as this
// toolchain has it, and fails if a new one behaves otherwise:
//
//	TestKeyLog               which secrets are logged, and that it is before the flight is written
//	TestNoTicketRecord       nothing is sealed with the session's keys when tickets are off
//	TestWritesPerFlight      a flight is one Write
//	TestReadsBeyondRecord    Read takes all it can get, so it must be given one record at most
//	TestNothingBuffered      then nothing is left in the tls.Conn
//	TestCallersGoroutine     Handshake reads and writes in the goroutine that calls it
//	TestStateAfterHandshake  ConnectionState needs neither connection nor peer
//	TestDroppedConnIsSilent  a dropped tls.Conn writes nothing

// observed is a net.Conn that takes down what crypto/tls does with it.
type observed struct {
	net.Conn
	log        *observedLog
	oneRecord  bool // Read returns no byte beyond a record
	header     []byte
	left       int
	writes     [][]byte
	goroutines map[string]bool
	reads      int
}

// observedLog is a KeyLogWriter.
type observedLog struct {
	labels       []string
	writesBefore []int // writes of the connection before each label
	conn         *observed
	keys         keyLog
}

func (l *observedLog) Write(line []byte) (int, error) {
	label, _, _ := strings.Cut(string(line), " ")
	l.labels = append(l.labels, label)
	l.writesBefore = append(l.writesBefore, len(l.conn.writes))
	n := len(line)
	if _, err := l.keys.Write(line); err != nil {
		return 0, err
	}
	return n, nil
}

func goroutineID() string {
	buf := make([]byte, 64)
	id, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte(" ["))
	return string(id)
}

func (o *observed) Write(b []byte) (int, error) {
	o.goroutines[goroutineID()] = true
	o.writes = append(o.writes, bytes.Clone(b))
	return o.Conn.Write(b)
}

func (o *observed) Read(b []byte) (int, error) {
	o.goroutines[goroutineID()] = true
	o.reads++
	if !o.oneRecord {
		return o.Conn.Read(b)
	}
	if len(o.header) == 0 && o.left == 0 {
		o.header = make([]byte, recordHeaderLen)
		if _, err := io.ReadFull(o.Conn, o.header); err != nil {
			return 0, err
		}
		o.left = int(o.header[3])<<8 | int(o.header[4])
	}
	if n := copy(b, o.header); n > 0 {
		o.header = o.header[n:]
		return n, nil
	}
	n, err := o.Conn.Read(b[:min(len(b), o.left)])
	o.left -= n
	return n, err
}

// observe runs crypto/tls on both sides and returns what one side did.
func observe(t *testing.T, client bool, sc, cc *tls.Config) (*tls.Conn, *observed) {
	t.Helper()
	near, far := memPair()
	t.Cleanup(func() { near.Close() })
	o := &observed{Conn: near, goroutines: map[string]bool{}, oneRecord: true, log: &observedLog{}}
	o.log.conn = o
	sc, cc = sc.Clone(), cc.Clone()
	var conn, peer *tls.Conn
	if client {
		cc.KeyLogWriter = o.log
		conn, peer = tls.Client(o, cc), tls.Server(far, sc)
	} else {
		sc.KeyLogWriter = o.log
		conn, peer = tls.Server(o, sc), tls.Client(far, cc)
	}
	result := make(chan error, 1)
	go func() { result <- peer.Handshake() }()
	if err := errors.Join(conn.Handshake(), <-result); err != nil {
		t.Fatal(err)
	}
	return conn, o
}

// engineConfigs are configurations as an engine sets them.
func engineConfigs(version uint16) (sc, cc *tls.Config) {
	sc, cc = serverConfig(ecdsaID()), clientConfig(ecdsaID())
	sc.SessionTicketsDisabled = true
	sc.MaxVersion = version
	return sc, cc
}

func TestKeyLog(t *testing.T) {
	labels13 := "CLIENT_HANDSHAKE_TRAFFIC_SECRET SERVER_HANDSHAKE_TRAFFIC_SECRET " +
		"CLIENT_TRAFFIC_SECRET_0 SERVER_TRAFFIC_SECRET_0"
	for _, tc := range []struct {
		name    string
		version uint16
		client  bool
		labels  string
		before  []int
	}{
		{"1.3 server", v13, false, labels13, []int{0, 0, 0, 0}},
		// The client has sent its hello, then a change_cipher_spec that goes out with Finished.
		{"1.3 client", v13, true, labels13, []int{1, 1, 1, 1}},
		{"1.2 server", v12, false, "CLIENT_RANDOM", []int{1}},
		{"1.2 client", v12, true, "CLIENT_RANDOM", []int{1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sc, cc := engineConfigs(tc.version)
			_, o := observe(t, tc.client, sc, cc)
			if got := strings.Join(o.log.labels, " "); got != tc.labels {
				t.Errorf("labels %s, want %s", got, tc.labels)
			}
			if !reflect.DeepEqual(o.log.writesBefore, tc.before) {
				t.Errorf("logged after %d writes, want %d", o.log.writesBefore, tc.before)
			}
		})
	}
}

func TestNoTicketRecord(t *testing.T) {
	for _, tickets := range []bool{false, true} {
		sc, cc := engineConfigs(v13)
		sc.SessionTicketsDisabled = !tickets
		cc.ClientSessionCache = tls.NewLRUClientSessionCache(4) // offers psk_dhe_ke
		conn, o := observe(t, false, sc, cc)

		su, err := suiteOf(v13, conn.ConnectionState().CipherSuite)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		flight := bytes.Join(o.writes, nil)
		for len(flight) > 0 {
			n := recordHeaderLen + int(flight[3])<<8 + int(flight[4])
			var s Session
			s.init(su, true)
			s.open.setTraffic(su, o.log.keys.server[:su.hashLen])
			s.seal.setTraffic(su, o.log.keys.client[:su.hashLen])
			if _, err := s.Open(bytes.Clone(flight[:n])); err == nil {
				found++
			}
			flight = flight[n:]
		}
		// With tickets on it must be found, or this test could not fail.
		if want := map[bool]int{false: 0, true: 1}[tickets]; found != want {
			t.Errorf("tickets %v: %d records under the session's keys, want %d", tickets, found, want)
		}
	}
}

func TestWritesPerFlight(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version uint16
		retry   bool
		writes  int
	}{
		{"1.3", v13, false, 1},
		{"1.3 hello retry", v13, true, 3}, // the retry, its change_cipher_spec, the flight
		{"1.2", v12, false, 2},
	} {
		sc, cc := engineConfigs(tc.version)
		if tc.retry {
			sc.CurvePreferences = []tls.CurveID{tls.CurveP384}
		}
		if _, o := observe(t, false, sc, cc); len(o.writes) != tc.writes {
			t.Errorf("%s: server wrote %d times, want %d", tc.name, len(o.writes), tc.writes)
		}
	}
}

// tail is the data a client sends together with its Finished.
const tail = "data right behind the handshake"

// serverWithTail runs a server whose client's Finished and first data come in one piece. It
// returns what of the data the connection below still has.
func serverWithTail(t *testing.T, oneRecord bool) (*tls.Conn, []byte) {
	t.Helper()
	sc, cc := engineConfigs(v13)
	near, far := memPair()
	defer near.Close()

	// The client's second flight is held back until the data is sealed too.
	held := &holdBack{Conn: far, through: 1}
	client := tls.Client(held, cc)
	result := make(chan error, 1)
	go func() {
		err := client.Handshake()
		if err == nil {
			_, err = client.Write([]byte(tail))
		}
		result <- errors.Join(err, held.release())
	}()
	o := &observed{Conn: near, goroutines: map[string]bool{}, oneRecord: oneRecord}
	server := tls.Server(o, sc)
	if err := errors.Join(server.Handshake(), <-result); err != nil {
		t.Fatal(err)
	}
	near.in.mu.Lock()
	defer near.in.mu.Unlock()
	return server, bytes.Clone(near.in.buf.Bytes())
}

// holdBack lets some writes through and keeps the others until release.
type holdBack struct {
	net.Conn
	through int
	kept    []byte
}

func (c *holdBack) Write(b []byte) (int, error) {
	if c.through > 0 {
		c.through--
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

func (c *holdBack) release() error {
	_, err := c.Conn.Write(c.kept)
	return err
}

func TestReadsBeyondRecord(t *testing.T) {
	want := recordHeaderLen + len(tail) + 1 + tagLen
	if _, below := serverWithTail(t, true); len(below) != want {
		t.Errorf("given one record a time, %d bytes are left below, want %d", len(below), want)
	}
	// The reason for all of this. Should it fail one day, there is nothing to guard against.
	if _, below := serverWithTail(t, false); len(below) != 0 {
		t.Errorf("given all, crypto/tls left %d bytes: it has stopped reading ahead", len(below))
	}
}

// bufferedBytes counts what a tls.Conn holds in its buffers.
func bufferedBytes(t *testing.T, c *tls.Conn) map[string]int64 {
	t.Helper()
	v := reflect.ValueOf(c).Elem()
	field := func(v reflect.Value, name string) reflect.Value {
		f := v.FieldByName(name)
		if !f.IsValid() {
			t.Fatalf("%v has no field %s any more: read crypto/tls again", v.Type(), name)
		}
		return f
	}
	buffer := func(name string) int64 {
		b := field(v, name)
		return int64(field(b, "buf").Len()) - field(b, "off").Int()
	}
	input := field(v, "input")
	return map[string]int64{
		"rawInput": buffer("rawInput"), "hand": buffer("hand"),
		"input":   int64(field(input, "s").Len()) - field(input, "i").Int(),
		"sendBuf": int64(field(v, "sendBuf").Len()),
	}
}

func TestNothingBuffered(t *testing.T) {
	server, _ := serverWithTail(t, true)
	for name, n := range bufferedBytes(t, server) {
		if n != 0 {
			t.Errorf("%s holds %d bytes", name, n)
		}
	}
	greedy, _ := serverWithTail(t, false)
	if n := bufferedBytes(t, greedy)["rawInput"]; n == 0 {
		t.Error("nothing in rawInput of a connection that read ahead: this test sees nothing")
	}
	for _, version := range []uint16{v13, v12} {
		sc, cc := engineConfigs(version)
		client, _ := observe(t, true, sc, cc)
		for name, n := range bufferedBytes(t, client) {
			if n != 0 {
				t.Errorf("client %#x: %s holds %d bytes", version, name, n)
			}
		}
	}
}

func TestCallersGoroutine(t *testing.T) {
	for _, version := range []uint16{v13, v12} {
		for _, client := range []bool{false, true} {
			sc, cc := engineConfigs(version)
			_, o := observe(t, client, sc, cc)
			if len(o.goroutines) != 1 || !o.goroutines[goroutineID()] {
				t.Errorf("version %#x, client %v: I/O from %v, want only %s",
					version, client, o.goroutines, goroutineID())
			}
		}
	}
}

func TestStateAfterHandshake(t *testing.T) {
	sc, cc := engineConfigs(v13)
	sc.NextProtos, cc.NextProtos = []string{"x"}, []string{"x"}
	conn, o := observe(t, false, sc, cc)
	o.Conn.Close()
	writes, reads := len(o.writes), o.reads
	st := conn.ConnectionState()
	if !st.HandshakeComplete || st.NegotiatedProtocol != "x" || st.ServerName != testName {
		t.Errorf("state %+v", st)
	}
	if len(o.writes) != writes || o.reads != reads {
		t.Error("ConnectionState did I/O")
	}
}

func TestDroppedConnIsSilent(t *testing.T) {
	sc, cc := engineConfigs(v13)
	conn, o := observe(t, false, sc, cc)
	collected := make(chan struct{})
	runtime.AddCleanup(conn, func(c chan struct{}) { close(c) }, collected)
	writes := len(o.writes)
	for range 100 {
		runtime.GC()
		select {
		case <-collected:
			if len(o.writes) != writes {
				t.Errorf("%d writes after it was dropped", len(o.writes)-writes)
			}
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("dropped tls.Conn is not collected: something holds it")
}

// TestKeyLogSink: what the sink keeps, refuses, and overwrites.
func TestKeyLogSink(t *testing.T) {
	hex32, hex48 := strings.Repeat("ab", 32), strings.Repeat("cd", 48)
	for _, tc := range []struct {
		line string
		ok   bool
	}{
		{"CLIENT_RANDOM " + hex32 + " " + hex48 + "\n", true},
		{"CLIENT_TRAFFIC_SECRET_0 " + hex32 + " " + hex32 + "\n", true},
		{"SERVER_TRAFFIC_SECRET_0 " + hex32 + " " + hex48 + "\n", true},
		{"EXPORTER_SECRET " + hex32 + " " + hex48 + "\n", true},
		{"CLIENT_RANDOM " + hex32 + " " + hex32 + "\n", false},
		{"CLIENT_RANDOM " + hex48 + " " + hex48 + "\n", false},
		{"CLIENT_TRAFFIC_SECRET_0 " + hex32 + " zz\n", false},
		{"CLIENT_TRAFFIC_SECRET_0 " + hex32 + " " + hex48 + hex32 + "\n", false},
		{"CLIENT_RANDOM\n", false},
	} {
		var k keyLog
		line := []byte(tc.line)
		n, err := k.Write(line)
		if (err == nil) != tc.ok || tc.ok && n != len(line) {
			t.Errorf("%.40s…: %d, %v", tc.line, n, err)
		}
		if !bytes.Equal(line, make([]byte, len(line))) {
			t.Errorf("%.40s… was not overwritten", tc.line)
		}
		if err != nil && strings.Contains(err.Error(), "abab") {
			t.Errorf("secret in the error: %v", err)
		}
		if k.wipe(); k != (keyLog{}) {
			t.Error("wipe left something")
		}
	}
}
