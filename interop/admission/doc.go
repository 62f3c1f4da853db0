// Package admission tests -verify-clients with a real tailscaled.
//
// The tailscaled and the control server that it has joined run in a network namespace of their
// own, made by the test without root where the kernel allows it, so that neither reaches
// anything else; the relay and its clients run outside and talk to tailscaled over its socket,
// which is a file. The package knows processes and sockets, and nothing of derpd's inside.
package admission
