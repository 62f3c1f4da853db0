// Package derp is the DERP wire: frames, keys, the login box, the meta certificate and the
// key file, as pure functions over bytes.
//
// Ownership: nothing here has state. The package knows the layout of protocol version 2
// and its length rules; it must not know a socket, a loop, a clock, a queue, who is
// connected or who may do what. Every function may be called from anywhere. Only
// LoadKey and LoadOrCreateKey touch the file system, and they block: never call them, nor
// the public-key functions (PrivateKey.Public, PrivateKey.Shared, OpenClientInfo,
// AppendClientInfo; tens of microseconds), from a place where a frame is waiting.
//
// A frame is a type (one byte), the length of its payload (four bytes, big-endian) and the
// payload. AppendX functions append a whole frame, header included, and allocate only if
// dst has no room. ParseX functions take a payload without its header; slices that they
// return alias it. A payload of a length that the frame type does not allow is refused with
// a *LengthError, and CheckLen tells the same from the header alone, before the payload is
// there.
//
// Server and load generator share the package, so a round trip through it proves nothing;
// the login box is tested against golang.org/x/crypto/nacl/box, and the layouts against
// literal bytes.
package derp
