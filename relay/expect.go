package relay

import "derpd/internal/prefetch"

// What a packet needs hangs together by pointers: connection, session, cipher; client, route,
// destination; its connection, session, cipher. Among many clients all of it has left the caches
// since it was last used, and is waited for one by one. Here the processor is asked for what comes
// next while there is something else to do.

// crowdMin is the number of connections of a loop from which that is worth its time, 50 ns a
// packet: what so many have in use, here and in the kernel, fills the cache of a processor.
const crowdMin = 256

func (l *loop) crowded() bool { return l.n.Connections >= l.crowdMin }

// expectRecord: a record has come.
func (l *loop) expectRecord(c *conn) {
	if l.crowded() {
		prefetch.Of(c.tls)
		prefetch.Of(c.client)
	}
}

// expectOpen: a record is to be opened, which takes as long as its sender's last destination takes
// to come, which probably is that of this packet too.
func (l *loop) expectOpen(c *conn) {
	if !l.crowded() {
		return
	}
	c.tls.ExpectOpen()
	if cl := c.client; cl != nil {
		prefetch.Of(cl.route)
		prefetch.Of(cl.last)
		prefetch.Of(cl.lastTo)
	}
}

// expectDestination: a record was opened.
func (l *loop) expectDestination(c *conn) {
	if cl := c.client; l.crowded() && cl != nil {
		if to := cl.lastTo; to != nil && to.loop == l { // what is another loop's is not to be read
			prefetch.Of(to.conn)
		}
	}
}

// expectFlush: a connection has something to send, when the turn ends.
func (l *loop) expectFlush(c *conn) {
	if l.crowded() {
		prefetch.Of(c.tls)
	}
}

// expectSeal: the turn ends, and the i-th connection that has something to send is next.
func (l *loop) expectSeal(i int) {
	if l.crowded() && i < len(l.dirty) && l.dirty[i].tls != nil {
		l.dirty[i].tls.ExpectSeal()
	}
}
