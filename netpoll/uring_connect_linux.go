package netpoll

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Connect implements Loop. The socket is made, set up and bound by plain system calls, so that
// what is wrong with the addresses is told at once, and then moved into the table of direct
// descriptors: it is an ordinary one for some microseconds.
func (l *URing) Connect(local, remote netip.AddrPort) (Handle, error) {
	if l.stop.Load() {
		return 0, ErrStopped
	}
	to, family, err := sockaddrOf(remote)
	if err != nil {
		return 0, err
	}
	fd, err := newStream(local, family, 0, l.userTimeout, l.keepAlive)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if l.live >= l.maxConns {
		return 0, ErrTooMany
	}
	slot, c, err := l.reserve()
	if err != nil {
		return 0, err
	}
	b, file := l.bank(slot)
	if b.closing {
		b.submit() // or the close of the file's last socket would come after this one
	}
	if err := b.ring.SetFile(file, fd); err != nil {
		l.unreserve(slot, c)
		return 0, err
	}
	address, size := rawSockaddr(to)
	b.pins = append(b.pins, address)
	l.room(b).Connect(file, unsafe.Pointer(address), size,
		userData(kindConnect, slot, c.generation))
	c.state = connecting
	l.live++
	l.expect(c)
	return MakeHandle(l.id, int(slot), c.generation), nil
}

// connected tells how a Connect went.
func (l *URing) connected(b *bank, slot int32, c *uconn, res int32) {
	if res < 0 {
		l.end(slot, c, why(-res))
		return
	}
	c.state = open
	if c.send != 0 {
		l.submitSend(slot, c, &l.sends[c.send-1])
	}
	l.wantReceive(slot, c)
	l.handler.Connected(MakeHandle(l.id, int(slot), c.generation), nil)
}
