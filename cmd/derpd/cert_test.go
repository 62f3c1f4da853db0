package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestACMEFlags: what -certmode gives no meaning is refused, as derper refuses -acme-ip-certs; what
// derper takes without using it is told.
func TestACMEFlags(t *testing.T) {
	const (
		kid  = " -acme-eab-kid=kid"
		bind = kid + " -acme-eab-key=a2V5"
		dir  = " -acme-directory=https://ca.example.com/directory"
		mail = " -acme-email=a@example.com"
	)
	for _, tc := range []struct {
		args  string
		parts []string // of the error; none if it is accepted
		warns bool
	}{
		{"-certmode=manual -acme-ip-certs", []string{"-acme-ip-certs", "manual", "letsencrypt"}, false},
		{"-certmode=self-signed -acme-ip-certs", []string{"-acme-ip-certs", "self-signed"}, false},
		{"-certmode=gcp -acme-ip-certs" + bind + mail, []string{"-acme-ip-certs", "gcp"}, false},
		{"-certmode=manual" + dir, []string{"-acme-directory", "ca.example.com", "manual"}, false},
		{"-certmode=self-signed" + dir, []string{"-acme-directory", "self-signed", "leave"}, false},
		{"-certmode=gcp" + bind, []string{"-certmode gcp", "-acme-email"}, false},
		{"-dev -certmode=manual -acme-ip-certs" + dir, nil, false},
		{"-certmode=letsencrypt -acme-ip-certs", nil, false},

		// What is passed on is looked at: half a binding, and a key that is none.
		{"-a=:8443" + dir + kid, []string{"-acme-eab-key"}, false},
		{"-a=:8443 -acme-ip-certs" + dir + kid + " -acme-eab-key=!", []string{"base64"}, false},
		{"-certmode=gcp -acme-eab-key=!" + kid + mail, []string{"base64"}, false},
		{"-a=:8443 -acme-ip-certs" + dir + bind, nil, false},
		{"-certmode=gcp" + bind + mail, nil, false},
		{"-certmode=letsencrypt" + bind, nil, true},
		{"-certmode=letsencrypt" + kid, nil, true},
		{"-certmode=self-signed" + bind, nil, true},
	} {
		var logged bytes.Buffer
		c, err := parseFlags(append(strings.Fields(tc.args), "-c=/tmp/key",
			"-hostname=relay.example.com", "-certdir="+t.TempDir()))
		if err == nil {
			s := &server{cfg: c, log: slog.New(slog.NewTextHandler(&logged, nil))}
			err = s.certificates()
		}
		if tc.parts != nil {
			wantSentence(t, tc.args, err, tc.parts...)
		} else if err != nil {
			t.Errorf("%s: %v", tc.args, err)
		}
		if warned := strings.Contains(logged.String(), "not used"); warned != tc.warns {
			t.Errorf("%s: logged %q", tc.args, &logged)
		}
	}
}
