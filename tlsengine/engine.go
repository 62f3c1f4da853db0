package tlsengine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// An Engine starts handshakes of one configuration. It keeps used handshakers (a tls.Config whose
// key log is their own, and two buffers) for the next. Safe for concurrent use.
type Engine struct {
	base     *tls.Config // template of the handshakers' configurations
	client   bool
	inputMax int       // bytes a peer may send in one handshake
	free     sync.Pool // of *handshaker
}

// NewServer returns an engine of servers. c needs a certificate (Certificates or GetCertificate)
// and is copied. What is set here, over what c says: no session tickets, no renegotiation, TLS 1.2
// or later, and of TLS 1.2 the six suites with ECDHE and an AEAD. c must not have a KeyLogWriter
// (it is how secrets get out of crypto/tls) nor GetConfigForClient (which would replace all of
// this). The error is [ErrFIPS] where no session could work.
func NewServer(c *tls.Config) (*Engine, error) {
	if c != nil && len(c.Certificates) == 0 && c.GetCertificate == nil {
		return nil, errors.New("tlsengine: server has no certificate: " +
			"set Certificates or GetCertificate")
	}
	return newEngine(c, false)
}

// NewClient returns an engine of clients, with c treated as by [NewServer]. c needs a ServerName
// unless InsecureSkipVerify is set.
func NewClient(c *tls.Config) (*Engine, error) {
	if c != nil && c.ServerName == "" && !c.InsecureSkipVerify {
		return nil, errors.New("tlsengine: client has neither ServerName nor InsecureSkipVerify")
	}
	return newEngine(c, true)
}

func newEngine(c *tls.Config, client bool) (*Engine, error) {
	if err := fipsError(); err != nil {
		return nil, err
	}
	switch {
	case c == nil:
		return nil, errors.New("tlsengine: no tls.Config")
	case c.KeyLogWriter != nil:
		return nil, errors.New("tlsengine: KeyLogWriter is taken: secrets come through it")
	case c.GetConfigForClient != nil:
		return nil, errors.New("tlsengine: GetConfigForClient would replace the key log and " +
			"the suites; use GetCertificate")
	case c.MaxVersion != 0 && c.MaxVersion < v12:
		return nil, fmt.Errorf("tlsengine: MaxVersion %#04x is below TLS 1.2", c.MaxVersion)
	}
	base := c.Clone()
	base.SessionTicketsDisabled = true
	base.ClientSessionCache = nil
	base.Renegotiation = tls.RenegotiateNever
	base.MinVersion = max(base.MinVersion, v12)
	base.CipherSuites = suites12()

	e := &Engine{base: base, client: client, inputMax: serverInputBytesMax}
	if client || base.ClientAuth != tls.NoClientCert {
		e.inputMax = certInputBytesMax
	}
	return e, nil
}

// New returns a handshake that has not begun. local and remote are what the connection in a
// tls.ClientHelloInfo reports; either may be nil. A Handshake ends by Finish or by Stop; one that
// is only dropped leaks its coroutine.
func (e *Engine) New(local, remote net.Addr) *Handshake {
	m, ok := e.free.Get().(*handshaker)
	if !ok {
		m = &handshaker{cfg: e.base.Clone(), client: e.client, inputMax: e.inputMax}
		m.cfg.KeyLogWriter = &m.log
	}
	m.begin(local, remote)
	return &Handshake{engine: e, m: m}
}
