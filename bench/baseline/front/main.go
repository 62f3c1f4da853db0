package front

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"derpd/relay/derp"
)

// Config is what a relay was told by its flags.
type Config struct {
	Addr string          // to listen on
	STUN string          // UDP address to answer STUN at; empty: none
	Key  derp.PrivateKey // the relay's
	TLS  *tls.Config     // nil: no TLS
}

// Program is a relay as a program.
type Program struct {
	Name  string
	NoTLS string // the reason for which it cannot do TLS; empty: it can
	STUN  bool   // it answers STUN too
	Serve func(*Config) error
}

// Main runs a relay until SIGINT or SIGTERM. It does not return: the exit status is 2 for flags
// that make no sense, 1 for a relay that failed.
func Main(p Program) {
	name := p.Name
	f, err := parse(name, p.STUN, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err == nil && p.NoTLS != "" && !f.plain() {
		err = fmt.Errorf("-certmode %s: %s; give -certmode letsencrypt and a port other than 443",
			f.certMode, p.NoTLS)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		os.Exit(0) // there is nothing to keep
	}()
	cfg, err := f.config()
	if err == nil {
		err = p.Serve(cfg)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}

// config reads what the flags name. The certificate's chain ends in the meta certificate, from
// which clients learn the relay's key, and so log in without waiting for a greeting.
func (f *flags) config() (*Config, error) {
	key, _, err := derp.LoadOrCreateKey(f.keyFile)
	if err != nil {
		return nil, err
	}
	c := &Config{Addr: f.addr, Key: key}
	if f.stun {
		host, _, err := net.SplitHostPort(f.addr)
		if err != nil {
			return nil, err
		}
		c.STUN = net.JoinHostPort(host, strconv.Itoa(f.stunPort))
	}
	if f.plain() {
		return c, nil
	}
	file := filepath.Join(f.certDir, f.host)
	cert, err := tls.LoadX509KeyPair(file+".crt", file+".key")
	if err != nil {
		return nil, err
	}
	meta, err := derp.MetaCert(key.Public(), time.Now())
	if err != nil {
		return nil, err
	}
	cert.Certificate = append(cert.Certificate, meta)
	c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}}
	return c, nil
}
