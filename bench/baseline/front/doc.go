// Package front is what the baseline relays have in common before and beside the way of a packet:
// derper's flags as far as they make sense here, the relay's key and certificate, the upgrade and
// the login, where frames begin and end, and the metrics page.
//
// It owns nothing but the Counters, which any goroutine may change. Everything else is a function
// of bytes, and a Config does not change after Main made it; a Login belongs to its connection. It
// must not know how a relay reads, writes or queues: that is where the baselines differ.
package front
