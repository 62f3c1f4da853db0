package websock

const (
	// HeaderMax is the longest header of a frame that a server sends: two bytes and a 64-bit
	// length (RFC 6455 §5.2).
	HeaderMax = 2 + 8

	// MaskedHeaderMax is the longest header of a frame that a client sends.
	MaskedHeaderMax = HeaderMax + keyLen

	// ControlMax bounds the payload of a control frame (RFC 6455 §5.5).
	ControlMax = 125

	// MessageMax is the longest message to send. Tailscale's client in the browser fails on
	// a longer one: its library reads 32 KiB a message unless told otherwise, and it is not.
	MessageMax = 32 << 10

	// quotedMax is how much of a request's header an error repeats, in characters.
	quotedMax = 60
)

const (
	keyLen   = 4  // of a masking key
	nonceLen = 16 // of Sec-WebSocket-Key, decoded (RFC 6455 §4.1)
	codeLen  = 2  // of the code that a close frame begins with
)
