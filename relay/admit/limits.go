package admit

import "time"

const (
	// DefaultSocket is where tailscaled listens on Linux.
	DefaultSocket = "/var/run/tailscale/tailscaled.sock"

	// DefaultCacheFor is how long an answer is used again. Clients that lose their relay come
	// back within a second or two, some several times: ten seconds cover a storm, and are
	// short enough for a revoked key.
	DefaultCacheFor = 10 * time.Second

	// defaultTimeout is how long derper waits for the URL. A login has ten seconds.
	defaultTimeout = 5 * time.Second

	// defaultMaxConcurrent checks at once keep a controller 50 ms away busy with 1,280
	// logins a second, which is about what one core can shake hands with.
	defaultMaxConcurrent = 64

	// defaultMaxWaiting is the relay's default of handshakes in flight: those of a storm all
	// fit. A waiting login has ~200 bytes here.
	defaultMaxWaiting = 4096

	// refusedForMax bounds the time that a refusal is used again: a node that has just been
	// added should not be kept out for longer than it takes to try again.
	refusedForMax = 3 * time.Second

	// Entries of each cache, apart from each other, so that strangers cannot push out who is
	// known. An entry has ~150 bytes.
	allowedMax = 16 << 10
	refusedMax = 4 << 10

	// statusBytesMax bounds tailscaled's status, which without its peers has a few KB.
	statusBytesMax = 1 << 20

	// lostMax failures in a row to reach a service make it unreachable for all but one check
	// at a time. One may be a connection that the other end closed meanwhile.
	lostMax = 3

	// tellEvery is the pause between log lines about one service, however often its state
	// changes.
	tellEvery = 10 * time.Second

	// admitBytesMax is what is read of the URL's answer, as derper does.
	admitBytesMax = 4 << 10

	// whoisBytesMax is what is read of tailscaled's answer. A node with many capabilities
	// has tens of KB.
	whoisBytesMax = 1 << 20

	// errorBytesMax is what a log line shows of an unexpected answer.
	errorBytesMax = 200

	// headerBytesMax bounds the headers of an answer. Real ones have some 300 bytes.
	headerBytesMax = 64 << 10

	// idleFor is how long a connection to a service is kept for the next check.
	idleFor = 90 * time.Second
)
