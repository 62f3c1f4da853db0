package httplog

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// ours is how net/http begins the line about what no client should be able to cause: a page that
// panics. All others, like a TLS handshake that was no TLS, anybody can cause as often as they
// like, or, like an Accept that fails, are told by who owns the listener.
var ours = []byte("http: panic serving ")

// New returns a logger for http.Server.ErrorLog. What is wrong here is a warning, the rest is for
// debugging.
func New(to *slog.Logger) *log.Logger { return log.New(sorter{to}, "", 0) }

type sorter struct{ to *slog.Logger }

func (s sorter) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, ours) {
		level = slog.LevelWarn
	}
	s.to.Log(context.Background(), level, string(bytes.TrimRight(line, "\n")))
	return len(line), nil
}
