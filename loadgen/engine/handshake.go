package engine

import (
	"crypto/rand"
	"sync"

	"derpd/loadgen"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// workers computes what takes too long for a loop: handshakes and login boxes.
type workers struct {
	jobs  chan func()
	wg    sync.WaitGroup
	wakes netpoll.Wakes // what is left for loops
}

func newWorkers(n, queue int, loops []*loop) *workers {
	w := &workers{jobs: make(chan func(), queue)}
	for _, l := range loops {
		w.wakes.Add(l.poll) // by its ID
	}
	for range n {
		w.wg.Go(w.work)
	}
	return w
}

// work does jobs. Loops are told of what came of them together, as long as there are more.
func (w *workers) work() {
	for job := range w.jobs {
		job()
		w.wakes.Done(len(w.jobs))
		netpoll.Yield(workSlice)
	}
}

// do has a worker run the job. Each login has at most one job waiting, so that a queue as long as
// there are logins never blocks a loop.
func (w *workers) do(job func()) { w.jobs <- job }

// close waits for the last job.
func (w *workers) close() {
	close(w.jobs)
	w.wg.Wait()
}

// shake is one TLS handshake. The loop puts bytes in; one worker at a time takes them, steps the
// coroutine and posts what comes out.
type shake struct {
	l   *loop
	c   int32
	key uint32 // generation of the client's key

	mu     sync.Mutex
	in     []byte // fed by the loop, not taken by a worker yet
	queued bool   // a worker has it or will
	ended  bool   // the connection is gone

	hs *tlsengine.Handshake // the workers'; queued hands it from one to the next
}

// shaken is what one step gave.
type shaken struct {
	out    []byte
	tls    *tlsengine.Session // set when done
	rest   []byte             // behind the handshake
	flight []byte             // request and login, if the relay's key is known
	shared derp.Shared
	err    error
}

// feed hands on bytes from the relay; the first call has none.
func (s *shake) feed(e *Engine, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = append(s.in, b...)
	s.schedule(e)
}

// end stops the coroutine.
func (s *shake) end(e *Engine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.schedule(e)
}

// schedule is called with mu held.
func (s *shake) schedule(e *Engine) {
	if !s.queued {
		s.queued = true
		e.workers.do(func() { s.work(e) })
	}
}

// work is a worker's turn: steps as long as there are bytes.
func (s *shake) work(e *Engine) {
	for {
		s.mu.Lock()
		in, ended := s.in, s.ended
		s.in = nil
		s.mu.Unlock()
		if ended {
			if s.hs != nil {
				s.hs.Stop()
			}
			return // queued stays true: it never runs again
		}
		r := s.step(e, in)
		over := r.tls != nil || r.err != nil
		if over || len(r.out) > 0 {
			e.workers.wakes.Leave(s.l.id, func() { s.told(r, over) })
		}
		if over {
			return
		}
		s.mu.Lock()
		more := len(s.in) > 0 || s.ended
		s.queued = more
		s.mu.Unlock()
		if !more {
			return
		}
	}
}

// told gives a step's outcome to the loop.
func (s *shake) told(r shaken, over bool) {
	if over {
		s.mu.Lock()
		r.rest = append(r.rest, s.in...) // fed behind the step's back
		s.in = nil
		s.mu.Unlock()
	}
	s.l.shook(s, r)
}

func (s *shake) step(e *Engine, in []byte) (r shaken) {
	if s.hs == nil {
		s.hs = e.tls[e.clientsAt[s.c].target].New(nil, nil)
	}
	out, done, err := s.hs.Step(in)
	r.out, r.err = append([]byte(nil), out...), err
	if err != nil {
		s.hs.Stop()
		return r
	}
	if !done {
		return r
	}
	r.tls = new(tlsengine.Session)
	rest, state, err := s.hs.Finish(r.tls)
	if err != nil {
		r.tls, r.err = nil, err
		return r
	}
	r.rest = rest
	if !e.fastStart() {
		return r
	}
	for _, cert := range state.PeerCertificates {
		if server, _, ok := derp.KeyFromMetaCert(cert); ok {
			r.flight, r.shared, r.err = e.loginFrame(e.upgrade(s.c, true), s.c, s.key, server)
			break
		}
	}
	return r
}

// loginFrame appends the login of a client.
func (e *Engine) loginFrame(dst []byte, index int32, generation uint32, server derp.Key) ([]byte,
	derp.Shared, error) {
	private, err := e.privateKey(index, generation)
	if err != nil {
		return nil, derp.Shared{}, err
	}
	var nonce [derp.NonceLen]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, derp.Shared{}, err
	}
	info := derp.ClientInfo{Version: derp.ProtocolVersion, CanAckPings: true}
	return derp.AppendClientInfo(dst, private, server, info, nonce)
}

// upgrade is the request to switch to DERP.
func (e *Engine) upgrade(index int32, fast bool) []byte {
	host := e.target(index).Host
	b := []byte("GET /derp HTTP/1.1\r\nHost: " + host + "\r\n")
	if e.job.Workload.WebSocket {
		return append(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: ZGVycGQtbG9hZGdlbi0wMQ==\r\nSec-WebSocket-Protocol: derp\r\n\r\n"...)
	}
	b = append(b, "Upgrade: DERP\r\nConnection: Upgrade\r\n"...)
	if fast {
		b = append(b, "Derp-Fast-Start: 1\r\n"...)
	}
	return append(b, "\r\n"...)
}

func (e *Engine) target(index int32) *loadgen.Target {
	return &e.job.Targets[e.clientsAt[index].target]
}

// fastStart tells whether logins may go out with the request.
func (e *Engine) fastStart() bool { return e.opt.FastLog != "off" && !e.job.Workload.WebSocket }
