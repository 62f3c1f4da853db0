// Package certs keeps the certificate that handshakes serve.
//
// A Store is read by handshakes (GetCertificate, any goroutine, never blocking: an atomic
// load) and written by one goroutine of its own, which looks whether the files on disk have
// changed. The server's DERP key travels in a second, self-signed certificate behind the
// chain (the meta certificate), appended to a copy.
//
// An Auto does the same with certificates that it gets and renews by ACME. Handshakes and
// port 80 only read what is in memory; Watch alone decides what is due, and each attempt to
// get a certificate has a goroutine that may wait for the CA for minutes.
//
// The room knows files, X.509 and ACME; it must not know connections, but for the local
// address of one that asks for a certificate.
package certs
