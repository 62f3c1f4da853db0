package netpoll

import (
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// acceptor is a listener as its loop sees it. An episode of want (of descriptors, memory)
// lasts from the first accept that failed for it to the next one that succeeds; it is
// logged at both ends, and accepting rests in between.
type acceptor struct {
	*Listener
	resume int64         // time to try again; 0: not resting
	pause  time.Duration // the last rest; 0: no episode
	failed int           // accepts of this episode
	full   bool          // the last one found the table of connections full
}

// accept takes what waits on a listener, at most acceptsPerTurn. It cannot fail for good:
// whatever goes wrong, the listener is tried again.
func (l *Epoll) accept(index int) {
	a := &l.listeners[index]
	for range acceptsPerTurn {
		if a.fd < 0 || a.resume != 0 {
			return
		}
		fd, errno := accept(a.fd, &l.peer)
		switch {
		case errno == 0:
			l.admit(a, index, fd)
		case errno == unix.EAGAIN:
			return
		case !ofConnection(errno):
			l.restAccept(a, index, errno)
		}
	}
}

// ofConnection tells errors of a connection, which is gone, from those of the listener:
// accept(2).
func ofConnection(errno unix.Errno) bool {
	switch errno {
	case unix.EINTR, unix.ECONNABORTED, unix.EPERM, unix.ETIMEDOUT, unix.ENETDOWN,
		unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
		unix.EOPNOTSUPP, unix.ENETUNREACH:
		return true
	}
	return false
}

// admit makes an accepted socket a connection, or closes it.
func (l *Epoll) admit(a *acceptor, index int, fd int32) {
	h, _, err := l.take(fd, open, unix.EPOLLIN)
	if err == ErrTooMany {
		unix.Close(int(fd))
		l.stats.AcceptsFull++
		a.tellFull(l.log, l.maxConns)
		return
	}
	if err != nil {
		unix.Close(int(fd))
		l.restAccept(a, index, err.(unix.Errno))
		return
	}
	l.stats.Accepts++
	a.succeeded(l.log)
	l.handler.Accepted(h, index, addrPortOf(&l.peer))
	l.tell()
}

// restAccept stops accepting on a listener for a while. The connections stay in the
// kernel's queue, and their peers wait.
func (l *Epoll) restAccept(a *acceptor, index int, errno unix.Errno) {
	l.stats.AcceptErrors++
	a.failedFor(errno, l.now, l.live, l.log)
	l.paused++
	control(l.epoll, unix.EPOLL_CTL_MOD, a.fd, 0, slotListener-int32(index), 0)
}

// failedFor notes an accept that failed for want of something, and sets the time to try again.
func (a *acceptor) failedFor(errno unix.Errno, now int64, live int, log *slog.Logger) {
	a.failed++
	if a.pause == 0 {
		a.pause = acceptPauseMin
		log.Error("cannot accept, will retry: "+wantRemedy(errno), "listener", a.addr,
			"error", errno, "connections", live)
	} else {
		a.pause = min(2*a.pause, acceptPauseMax)
	}
	a.resume = now + int64(a.pause)
}

// succeeded ends an episode, if there was one.
func (a *acceptor) succeeded(log *slog.Logger) {
	a.full = false
	if a.pause != 0 {
		log.Info("accepting again", "listener", a.addr, "failed", a.failed)
		a.pause, a.failed = 0, 0
	}
}

// tellFull logs, once until the next success, that new connections are closed.
func (a *acceptor) tellFull(log *slog.Logger, limit int) {
	if !a.full {
		a.full = true
		log.Warn("a loop holds as many connections as it may: closing new ones; more loops hold more",
			"max", limit, "listener", a.addr)
	}
}

// wantRemedy says what helps against an error of accept.
func wantRemedy(errno unix.Errno) string {
	switch errno {
	case unix.EMFILE:
		return "raise the limit of open files of this process (ulimit -n, LimitNOFILE=)"
	case unix.ENFILE:
		return "raise the limit of open files of the system (sysctl fs.file-max)"
	case unix.ENOBUFS, unix.ENOMEM:
		return "the kernel is short of memory for sockets (sysctl net.ipv4.tcp_mem)"
	case unix.ENOSPC:
		return "raise the limit of watched descriptors (sysctl fs.epoll.max_user_watches)"
	}
	return "the listening socket is unusable; restart if this goes on"
}

// resumeAccept tries the listeners again whose rest is over.
func (l *Epoll) resumeAccept() {
	for i := range l.listeners {
		a := &l.listeners[i]
		if a.resume == 0 || a.resume > l.now {
			continue
		}
		a.resume = 0
		l.paused--
		if a.fd >= 0 {
			control(l.epoll, unix.EPOLL_CTL_MOD, a.fd, unix.EPOLLIN, slotListener-int32(i), 0)
		}
	}
}
