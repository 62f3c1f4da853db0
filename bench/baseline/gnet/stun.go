package main

import (
	"net"

	"github.com/panjf2000/gnet/v2"

	"derpd/stun"
)

// answer answers one datagram, as gnet gives them: each with a system call to receive it and one to
// send the answer.
func answer(conn gnet.Conn) gnet.Action {
	req, err := conn.Peek(-1)
	from, ok := conn.RemoteAddr().(*net.UDPAddr)
	if err != nil || !ok {
		return gnet.None
	}
	var room [64]byte
	if reply := stun.Respond(room[:0], req, from.AddrPort()); reply != nil {
		_, _ = conn.Write(reply) // a datagram that is lost is asked for again
	}
	return gnet.None
}
