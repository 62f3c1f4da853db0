// Package certs keeps the certificate that handshakes serve.
//
// A Store is read by handshakes (GetCertificate, any goroutine, never blocking: an atomic
// load) and written by one goroutine of its own, which looks whether the files on disk have
// changed. The server's DERP key travels in a second, self-signed certificate behind the
// chain (the meta certificate), appended to a copy. The room knows files and X.509; it must
// not know connections.
package certs
