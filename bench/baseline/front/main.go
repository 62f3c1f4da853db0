package front

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"derpd/relay/derp"
)

// Config is what a relay was told by its flags.
type Config struct {
	Addr string          // to listen on
	Key  derp.PrivateKey // the relay's
	TLS  *tls.Config     // nil: no TLS
}

// Main runs a relay as a program, until SIGINT or SIGTERM. noTLS is the reason for which it cannot
// do TLS; empty: it can. It does not return: the exit status is 2 for flags that make no sense, 1
// for a relay that failed.
func Main(name, noTLS string, serve func(*Config) error) {
	f, err := parse(name, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err == nil && noTLS != "" && !f.plain() {
		err = fmt.Errorf("-certmode %s: %s; give -certmode letsencrypt and a port other than 443",
			f.certMode, noTLS)
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
		err = serve(cfg)
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
