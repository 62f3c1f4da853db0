package relay

import (
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// Fixed limits. What an operator may want to change is a field of Config.
const (
	// helloBytesMax bounds the first record of a connection: the longest plaintext record
	// and its header (RFC 8446 §5.1). A handshake may take as much again per flight.
	helloBytesMax = 16<<10 + 5

	// handshakeBytesMax bounds what a connection may have sent that its handshake has not
	// taken yet: the hello, a whole record in progress and one behind it. The peer is held back
	// long before, from preLoginReceive on.
	handshakeBytesMax = helloBytesMax + 32<<10

	// workSlice is what a worker gives up the rest of after a piece of work, so that loops may go
	// first: as long as the dearer step of a handshake takes, or other programs on the processor
	// would leave logins a tenth of it.
	workSlice = 250 * time.Microsecond

	// aheadBytesMax is how much a worker opens of what follows a handshake. Request and login
	// are 500 bytes; packets behind them are the loop's.
	aheadBytesMax = 4 << 10

	// requestBytesMax bounds the head of an HTTP request. Tailscale's are ~200 bytes;
	// browsers with large cookies stay below 8 KiB.
	requestBytesMax = 16 << 10

	// preLoginBytesMax is what one connection may hold before its login beside the
	// handshake. Longer ClientInfo frames draw on Config.PreLoginBudget.
	preLoginBytesMax = 32 << 10

	// preLoginReceive is the most that is read from a connection at a time before its
	// login, so that what is stashed while the login is worked on stays under the bound.
	preLoginReceive = 8 << 10

	// flushBytesMax is how much plaintext one send carries at most: four full TLS records,
	// and at least the longest frame.
	flushBytesMax = 66 << 10

	// flushDiscoBytes goes ahead of data in a flush, so that a full data queue cannot
	// delay probes, while forged disco cannot starve data either.
	flushDiscoBytes = 8 << 10

	// presenceSlack is how many events a watcher may be behind by, beside twice as many as a list
	// from the start has: more than all that a hundred thousand clients do who come back at once.
	presenceSlack = 1 << 18
	// presenceBytesMax is how much of a watcher's list is encoded at a time, and
	// presenceFrameMax the longest PeerPresent frame.
	presenceBytesMax = 32 << 10
	presenceFrameMax = 512

	// linkFrameMax bounds a frame that another node sends and that is read as a whole, its header
	// included. The longest are some 200 bytes; what is only skipped may be as long as DERP allows.
	linkFrameMax = 16 << 10

	// remotesMax bounds the keys of other nodes whose correspondents a loop remembers.
	remotesMax = 64 << 10
	// remotesLookMin of them are looked through for those that are of no use any more, in 0.1 ms.
	remotesLookMin = 1 << 10

	// lostSlice is how many keys of a lost mesh link a loop forgets a turn.
	lostSlice = 64

	// sparedRecords is room, in record overheads, for the record that is not full and for
	// two KeyUpdate records (27 bytes each).
	sparedRecords = 8

	// noticeBytes is the size of a PeerGone frame.
	noticeBytes = derp.HeaderLen + derp.KeyLen + 1

	// packetOverhead is what a SendPacket or RecvPacket frame has beside the packet.
	packetOverhead = derp.HeaderLen + derp.KeyLen

	// answersPending is how many answers, to pings and to probes for a key that is not here, wait for
	// a connection that takes nothing. Upstream keeps one pong; eight answers are 1 KB at most.
	answersPending = 8

	// goneSlice is how many PeerGone notices a loop queues a turn. Each costs 3 to 6 µs, most
	// of it for a connection that no cache has seen for long, and its send: a hub that leaves
	// 50,000 correspondents behind costs everyone else ~40 µs a turn.
	goneSlice = 8

	// noticesMax bounds the PeerGone notices that wait for a connection which takes nothing or little:
	// 6 MB. Those beyond are counted as overflow.
	noticesMax = 16 << 10

	// reachedMax bounds the destinations remembered per connection and loop, to be told
	// when the sender leaves. 64 Ki handles are 1 MiB; those beyond are counted as overflow.
	reachedMax = 64 << 10

	// notHere limits PeerGone(NotHere) answers of one connection, as upstream does.
	notHerePerSecond = 1
	notHereBurst     = 3
)

const (
	handshakeTimeout = 10 * time.Second // TCP accept to end of TLS handshake
	requestTimeout   = 30 * time.Second // silence after TLS, as net/http's read timeout
	loginTimeout     = 10 * time.Second // upgrade to ClientInfo
	admitTimeout     = 30 * time.Second // the admission check, whose own limits are shorter
	drainTimeout     = 5 * time.Second  // last bytes of a connection that we end

	// drainLook is how often a shutdown looks whether last bytes have been sent.
	drainLook = 5 * time.Millisecond

	// lingerTimeout is how long a refused HTTP request is read on behind the answer; the
	// same as in net/http.
	lingerTimeout = 500 * time.Millisecond

	meshDialTimeout  = 10 * time.Second
	meshRetry        = 5 * time.Second // as upstream
	meshWriteTimeout = 30 * time.Second
	meshSilence      = 2 * time.Minute // a link without a frame, keepalives included
	remotesPause     = time.Minute     // between two looks through as many remotes as there may be

	keepAliveEvery  = 60 * time.Second
	keepAliveJitter = 5 * time.Second

	// homeSettles is how long after the login a client's choice of home is its first and not
	// a move, as upstream counts.
	homeSettles = 5 * time.Second

	// rateLookEvery is how often a client that is held back for its rate is looked at: new
	// limits apply to it no later.
	rateLookEvery = time.Second

	// rateSlack is how early a client that is held back for its rate is read again. A timer may
	// be that late, and tokens that come meanwhile would be lost beyond the burst: a client
	// would stay below its rate. What it is ahead by is charged, so the rate is kept.
	rateSlack = netpoll.TimerTick

	// idleAfter is how long a connection must be silent before its AES key schedules
	// (1.5 KB) are dropped; they cost a microsecond or two to make again.
	idleAfter = 10 * time.Second

	// settledAfter is the same after a login, whatever is said meanwhile: most clients name their
	// home and fall silent, and a storm of a thousand logins a second would hold 1.5 KB for each
	// client of its last twenty seconds.
	settledAfter = time.Second
)

const (
	// bridgeBytes is how much of a request may wait for the HTTP server before the peer is
	// held back, and how much of a response is handed to the loop at a time.
	bridgeBytes = 16 << 10

	// As upstream's server. An idle kept-alive connection is closed after httpTimeout too.
	httpTimeout = 30 * time.Second
)
