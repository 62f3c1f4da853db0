package derp

// ProtocolVersion is the version of the protocol that both ends announce in their login
// messages; the meta certificate carries it as its serial number.
const ProtocolVersion = 2

// Magic opens the payload of ServerKey: "DERP" and U+1F511.
const Magic = "DERP\xf0\x9f\x94\x91"

// Sizes in bytes that the protocol fixes.
const (
	// HeaderLen is a frame's type and length.
	HeaderLen = 1 + 4
	// KeyLen is an X25519 public key.
	KeyLen = 32
	// NonceLen is the nonce of a NaCl box (XSalsa20).
	NonceLen = 24
	// PingLen is what a Pong echoes of a Ping.
	PingLen = 8
	// MaxPacket is the longest packet a client may send, without header and keys: what
	// WireGuard can put in a UDP datagram fits.
	MaxPacket = 64 << 10
)

// Limits on payload lengths in bytes.
const (
	// MinClientInfo is a client's key and a nonce: less cannot even name its sender.
	MinClientInfo = KeyLen + NonceLen
	// MaxClientInfo is derper's bound on a login message, which comes from a peer that
	// has proved nothing yet. Real ones have some 200 bytes.
	MaxClientInfo = 256 << 10
	// MaxUnknown bounds a frame of a type that the receiver does not know, which is read
	// and discarded so that future clients are not cut off. It equals the longest
	// SendPacket; derper 1.104 uses the same.
	MaxUnknown = KeyLen + MaxPacket
	// MaxPing leaves room for extensions of Ping, whose first PingLen bytes are echoed.
	MaxPing = 1000
	// MaxFromServer is the longest frame that clients in the field take from a server.
	MaxFromServer = 1 << 20
	// MinServerKey and MaxServerKey bound the greeting; bytes behind the key are for
	// future versions and ignored.
	MinServerKey = len(Magic) + KeyLen
	MaxServerKey = 1024
	// MaxAppName is the longest application name in a login; since derper 1.104.
	MaxAppName = 32
)

// boxOverhead is the authenticator that secretbox puts in front of a message.
const boxOverhead = 16

// maxServerInfoJSON has room for every field of ServerInfo with its longest value:
// 3 names and 3 numbers of up to 20 digits.
const maxServerInfoJSON = 192

// keyFileBytesMax bounds what is read of a key file. The real one has about 90 bytes; more
// than this is not a key file but a path given by mistake.
const keyFileBytesMax = 64 << 10

// metaCertDays is how long before and after its making the meta certificate is valid.
// No client checks it, but Windows wants both ends set.
const metaCertDays = 30
