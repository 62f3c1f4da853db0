package bootstrap

import "time"

const (
	// refreshEvery is derper's. Addresses of the names that are served here change by the
	// day, and clients keep what they get.
	refreshEvery = 10 * time.Minute

	// retryEvery is the pause after a refresh in which a lookup failed: a relay that starts
	// before its network is up should not be without answers for ten minutes.
	retryEvery = time.Minute

	// refreshTimeout bounds one refresh of both lists, whatever the resolver does.
	refreshTimeout = time.Minute

	// lookupsAtOnce bounds the lookups in flight, so that one dead name does not use up the
	// time of the others.
	lookupsAtOnce = 4

	// queriedMax is how many names that clients asked for are remembered, to be counted.
	// Beyond it all are forgotten, as derper does: the count tells an operator that clients
	// ask for something else than expected, no more.
	queriedMax = 500

	// nameBytesMax is the longest DNS name in text (RFC 1035 §2.3.4). Longer queries are no
	// names, and not remembered.
	nameBytesMax = 253
)
