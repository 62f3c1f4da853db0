package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What ACME gets is kept where derper keeps it, so that a host may change from one to the
// other, in either direction, without a new certificate:
//
//	derp.example.com              key (SEC 1) and chain of the host name, as autocert has it
//	acme_account+key              account key for it; autocert once called it acme_account.key
//	192.0.2.7.crt, 192.0.2.7.key  of an address; colons are written as dots
//	acme-account.key              account key for addresses

var (
	nameAccounts = []string{"acme_account+key", "acme_account.key"}
	addrAccounts = []string{"acme-account.key"}
)

// addrFiles returns where the certificate of an address is.
func addrFiles(dir string, ip netip.Addr) (crt, key string) {
	base := filepath.Join(dir, strings.ReplaceAll(ip.String(), ":", "."))
	return base + ".crt", base + ".key"
}

// cachedAddrs returns the addresses that dir has certificates for.
func cachedAddrs(dir string) (addrs []netip.Addr) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil // not there yet, or Serve will tell
	}
	for _, f := range files {
		base, ok := strings.CutSuffix(f.Name(), ".crt")
		if !ok {
			continue
		}
		ip, err := netip.ParseAddr(base)
		if err != nil {
			ip, err = netip.ParseAddr(strings.ReplaceAll(base, ".", ":"))
		}
		if err == nil && plain(ip) == ip {
			addrs = append(addrs, ip)
		}
	}
	return addrs
}

// loadCached reads the certificate of s, with Leaf. Its end is not looked at.
func loadCached(dir string, s subject) (*tls.Certificate, error) {
	crt, key := filepath.Join(dir, s.name), filepath.Join(dir, s.name)
	if s.addr.IsValid() {
		crt, key = addrFiles(dir, s.addr)
	}
	pair, err := tls.LoadX509KeyPair(crt, key) // takes from each file what it needs
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	if err := pair.Leaf.VerifyHostname(s.String()); err != nil {
		return nil, fmt.Errorf("%s: %w", crt, err)
	}
	if bytes.Equal(pair.Leaf.RawIssuer, pair.Leaf.RawSubject) {
		return nil, fmt.Errorf("%s: self-signed, as -certmode manual makes for addresses", crt)
	}
	return &pair, nil
}

// storeCached writes the certificate of s with its key.
func storeCached(dir string, s subject, pair *tls.Certificate) error {
	key, err := encodeKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	var chain bytes.Buffer
	for _, der := range pair.Certificate {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	if !s.addr.IsValid() {
		return replaceFile(filepath.Join(dir, s.name), append(key, chain.Bytes()...), 0o600)
	}
	crtFile, keyFile := addrFiles(dir, s.addr)
	if err := replaceFile(keyFile, key, 0o600); err != nil {
		return err
	}
	return replaceFile(crtFile, chain.Bytes(), 0o644)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// accountKey reads the account key for s, or makes and writes one.
func accountKey(dir string, s subject) (crypto.Signer, error) {
	if key, err := storedAccount(dir, s); key != nil || err != nil {
		return key, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, replaceFile(filepath.Join(dir, s.accounts()[0]), text, 0o600)
}

// accounts are the files that the account key for s may be in; the first is where one is made.
func (s subject) accounts() []string {
	if s.addr.IsValid() {
		return addrAccounts
	}
	return nameAccounts
}

// storedAccount reads the account key for s; nil if there is none.
func storedAccount(dir string, s subject) (crypto.Signer, error) {
	for _, name := range s.accounts() {
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue // a folder that cannot be one is told when something is written there
		}
		if err != nil {
			return nil, fmt.Errorf("ACME account key: %w: let the relay's user read it", err)
		}
		key, err := parseKey(data)
		if err != nil {
			return nil, fmt.Errorf("ACME account key %s: %w: restore it, or remove it for a new "+
				"account", file, err)
		}
		return key, nil
	}
	return nil, nil
}

// parseKey reads a private key in PEM, of the kinds and wrappings that autocert reads.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || !strings.Contains(block.Type, "PRIVATE") {
		return nil, errors.New("it holds no private key in PEM")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T; ACME accounts need ECDSA or RSA", key)
}

// replaceFile writes a file so that it is there whole or as it was.
func replaceFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// writable makes dir, and sees that files can be written there.
func writable(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		probe := filepath.Join(dir, ".derpd-probe")
		if err = replaceFile(probe, nil, 0o600); err == nil {
			err = os.Remove(probe)
		}
	}
	if err != nil {
		return fmt.Errorf("-certdir %s: %w: renewed certificates must be kept, so choose a "+
			"directory that can be written", dir, err)
	}
	return nil
}
