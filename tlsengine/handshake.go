package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
)

// Errors of a handshake that are not crypto/tls's.
var (
	// ErrHandshakeOver: a method of a Handshake after Finish or Stop.
	ErrHandshakeOver = errors.New("tlsengine: handshake was finished or stopped")
	// ErrHandshakeUndone: Finish before Step said done.
	ErrHandshakeUndone = errors.New("tlsengine: handshake is not done")
	// ErrHandshakeTooLong: the peer sent more than any honest handshake takes.
	ErrHandshakeTooLong = errors.New("tlsengine: peer sends too much in one handshake")
)

// A PanicError is a panic out of a callback of the tls.Config (GetCertificate and the like), or
// out of crypto/tls: it ends the handshake, not the program.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("tlsengine: panic in the handshake: %v", e.Value)
}

// A Handshake is one handshake in progress. It is stepped by one goroutine at a time, never by one
// that is locked to its thread.
type Handshake struct {
	engine *Engine
	m      *handshaker // nil: finished or stopped
}

// Step feeds bytes from the peer, split anyhow, and runs the handshake until it needs more. A
// client's first Step is given nil. out is to be sent, whatever else is returned (with an error it
// may hold the alert); it is valid until the next call. in is not kept. After done, further bytes
// may still be fed, and Finish returns them. After an error only Stop is left.
//
// No coroutine is started, and nothing of the size a record claims to have is allocated, before the
// first record is whole.
func (h *Handshake) Step(in []byte) (out []byte, done bool, err error) {
	m := h.m
	if m == nil {
		return nil, false, ErrHandshakeOver
	}
	m.out = m.out[:0]
	if m.ended && m.err != nil {
		return nil, false, m.err
	}
	m.in = append(m.in, in...)
	if !m.ended && (m.ready() || m.client && !m.started) {
		m.resume()
	}
	m.in = slices.Delete(m.in, 0, m.off)
	m.off = 0
	if !m.ended {
		return m.out, false, nil
	}
	return m.out, m.err == nil, m.err
}

// Finish turns a handshake that is done into a session, in *s, and frees it. rest is what was fed
// beyond the handshake: the start of the record stream, in memory of its own, nil if there is
// none. Anything but [ErrHandshakeUndone] as error also ends the handshake. state keeps the secrets
// for exporting key material alive; do not hold on to it.
func (h *Handshake) Finish(s *Session) (rest []byte, state tls.ConnectionState, err error) {
	m := h.m
	switch {
	case m == nil:
		return nil, state, ErrHandshakeOver
	case !m.ended || m.err != nil:
		return nil, state, ErrHandshakeUndone
	}
	state = m.conn.ConnectionState()
	if err = m.session(s, state.Version, state.CipherSuite); err == nil && len(m.in) > 0 {
		rest = bytes.Clone(m.in)
	}
	h.free()
	return rest, state, err
}

// Stop ends a handshake that is not finished, in any state, and frees its coroutine. It may be
// called again, and after Finish, to no effect.
func (h *Handshake) Stop() {
	if h.m == nil {
		return
	}
	h.m.abort()
	h.free()
}

// free gives the handshaker back.
func (h *Handshake) free() {
	h.m.reset()
	h.engine.free.Put(h.m)
	h.m = nil
}
