package front

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"derpd/relay/derp"
)

// Upgrade tells whether a request asks for DERP, and whether the client has its login under way
// already, so that no response must come (fast start).
func Upgrade(r *http.Request) (isDERP, fast bool) {
	return r.URL.Path == "/derp" && strings.EqualFold(r.Header.Get("Upgrade"), "DERP"),
		r.Header.Get("Derp-Fast-Start") == "1"
}

// Greeting is what a client gets that has asked for DERP: the response, unless it is fast, and the
// relay's key.
func (c *Config) Greeting(fast bool) (b []byte) {
	public := c.Key.Public()
	if !fast {
		b = fmt.Appendf(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n"+
			"Connection: Upgrade\r\nDerp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n",
			derp.ProtocolVersion, public.Hex())
	}
	return derp.AppendServerKey(b, public)
}

// Admit opens the payload of a ClientInfo: who the client is, and the ServerInfo frame that
// answers it. Everybody is let in.
func (c *Config) Admit(payload []byte) (client derp.Key, reply []byte, err error) {
	client, _, shared, err := derp.OpenClientInfo(c.Key, payload)
	if err != nil {
		return client, nil, err
	}
	var nonce [derp.NonceLen]byte
	rand.Read(nonce[:])
	info := derp.ServerInfo{Version: derp.ProtocolVersion}
	return client, shared.AppendServerInfo(nil, info, nonce), nil
}

// Login is the part of a connection before its first frame, for relays that have its bytes as they
// come. The zero Login is a new connection without TLS.
type Login struct{ switched bool }

// Step is what a Login made of some bytes.
type Step struct {
	Used  int      // bytes of the input that are done with
	Reply []byte   // to send
	In    bool     // logged in, as Key
	Last  bool     // to close when the reply is sent
	Key   derp.Key // the client's
}

// Next takes the bytes that have come and were not used yet. An error ends the connection.
func (l *Login) Next(c *Config, counts *Counters, in []byte) (s Step, err error) {
	if !l.switched {
		if s, err = l.request(c, counts, in); err != nil || !l.switched {
			return s, err
		}
	}
	frame, kind, err := Next(in[s.Used:])
	if err != nil || frame == nil {
		return s, err
	}
	if kind != derp.FrameClientInfo {
		return s, fmt.Errorf("%v instead of a login", kind)
	}
	key, reply, err := c.Admit(frame[derp.HeaderLen:])
	if err != nil {
		return s, err
	}
	s.Used += len(frame)
	s.Reply = append(s.Reply, reply...)
	s.In, s.Key = true, key
	return s, nil
}

// request takes the head of the HTTP request.
func (l *Login) request(c *Config, counts *Counters, in []byte) (s Step, err error) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 && len(in) <= headBytesMax {
		return s, nil
	}
	if end < 0 || end > headBytesMax {
		return s, fmt.Errorf("no end of a request in %d bytes", headBytesMax)
	}
	s.Used = end + len("\r\n\r\n")
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:s.Used])))
	if err != nil {
		return s, err
	}
	isDERP, fast := Upgrade(r)
	if isDERP {
		l.switched = true
		s.Reply = c.Greeting(fast)
		return s, nil
	}
	status, page := http.StatusNotFound, []byte("not here\n")
	if r.URL.Path == MetricsPath {
		status, page = http.StatusOK, counts.Page()
	}
	s.Last = true
	s.Reply = fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s", status, http.StatusText(status), len(page), page)
	return s, nil
}

// Next cuts the first frame, header included, from what a client has sent; nil if it is not whole.
// An error is a frame that no client may send.
func Next(b []byte) (frame []byte, kind derp.FrameType, err error) {
	kind, n, ok := derp.Header(b)
	if !ok {
		return nil, 0, nil
	}
	if err := derp.CheckLen(kind, n, derp.FromClient); err != nil {
		return nil, kind, err
	}
	if len(b) < derp.HeaderLen+n {
		return nil, kind, nil
	}
	return b[:derp.HeaderLen+n], kind, nil
}

// Destination is where a whole SendPacket frame is to go.
func Destination(frame []byte) derp.Key { return derp.Key(frame[derp.HeaderLen:]) }

// Pong is the answer to a whole Ping frame.
func Pong(frame []byte) ([]byte, error) {
	data, err := derp.ParsePing(frame[derp.HeaderLen:])
	if err != nil {
		return nil, err
	}
	return derp.AppendPong(nil, data), nil
}
