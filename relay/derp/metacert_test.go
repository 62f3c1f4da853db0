package derp

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"
)

var metaTestTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestMetaCert(t *testing.T) {
	key := newKey(t).Public()
	now := metaTestTime
	der, err := MetaCert(key, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	err = cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	if err != nil {
		t.Errorf("not signed by itself: %v", err)
	}
	if cert.SignatureAlgorithm != x509.PureEd25519 {
		t.Errorf("signed with %v", cert.SignatureAlgorithm)
	}
	if cert.SerialNumber.Cmp(big.NewInt(2)) != 0 {
		t.Errorf("serial number %v", cert.SerialNumber)
	}
	name := "CN=derpkey" + key.Hex()
	if cert.Subject.String() != name || cert.Issuer.String() != name {
		t.Errorf("subject %v, issuer %v", cert.Subject, cert.Issuer)
	}
	month := 30 * 24 * time.Hour
	if !cert.NotBefore.Equal(now.Add(-month)) || !cert.NotAfter.Equal(now.Add(month)) {
		t.Errorf("valid from %v to %v", cert.NotBefore, cert.NotAfter)
	}
	if len(cert.Extensions) != 1 || cert.Extensions[0].Id.String() != "2.5.29.19" || cert.IsCA {
		t.Errorf("extensions %v", cert.Extensions)
	}
	if got, version, ok := KeyFromMetaCert(cert); got != key || version != 2 || !ok {
		t.Errorf("read back: %v, %d, %v", got, version, ok)
	}
}

func TestKeyFromOtherCert(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serial *big.Int
		ok     bool
	}{
		{"derpkey" + seq00, big.NewInt(255), true},
		{"derpkey" + seq00, big.NewInt(256), false},
		{"derpkey" + seq00, big.NewInt(-2), false},
		{"derpkey" + seq00, nil, false},
		{"derpkey" + seq00[1:], big.NewInt(2), false},
		{"derpkey" + seq00 + "0", big.NewInt(2), false},
		{"derpkey" + strings.Repeat("g", 64), big.NewInt(2), false},
		{"Derpkey" + seq00, big.NewInt(2), false},
		{"relay.example", big.NewInt(2), false},
		{"", big.NewInt(2), false},
	} {
		cert := &x509.Certificate{SerialNumber: tt.serial, Subject: pkix.Name{CommonName: tt.name}}
		key, version, ok := KeyFromMetaCert(cert)
		wantKey, wantVersion := Key{}, 0
		if tt.ok {
			wantKey, wantVersion = seqKey(0), 255
		}
		if key != wantKey || version != wantVersion || ok != tt.ok {
			t.Errorf("%q, serial %v: %v, %d, %v", tt.name, tt.serial, key, version, ok)
		}
	}
}
