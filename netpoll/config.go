package netpoll

import (
	"fmt"
	"log/slog"
	"math"
	"time"
)

// Config sets up a loop. The zero value is good, but accepts nothing.
type Config struct {
	MaxConns     int         // connections at most; 0: MaxConnsDefault
	ArenaBytes   int         // received in one turn at most (a ring); 0: ArenaBytesDefault
	ReceiveBytes int         // received from one connection in a turn; 0: ReceiveBytesDefault
	Listeners    []*Listener // accepted from; the loop closes them when it stops
	// UserTimeout and KeepAlive are for the connections made by Connect, as ListenOptions
	// are for accepted ones.
	UserTimeout time.Duration
	KeepAlive   time.Duration
	// Gather is how long received bytes may wait at most for others to be dealt with together,
	// while so many come that several will (see package pace); 0: not at all.
	Gather time.Duration
	// Slice is how long the loop computes before others may have its processor, where the kernel lets
	// threads choose (Linux 6.12); 0: SliceDefault, with which it may interrupt all that compute.
	Slice  time.Duration
	Logger *slog.Logger // nil: silent
}

// complete fills in the defaults and refuses what cannot work.
func (cfg *Config) complete(id int) error {
	if id < 0 || id >= loopsMax {
		return fmt.Errorf("netpoll: loop %d: a process has loops 0 to %d", id, loopsMax-1)
	}
	for _, f := range []struct {
		name               string
		value              *int
		preset, least, max int
	}{
		{"MaxConns", &cfg.MaxConns, MaxConnsDefault, 1, connsMax},
		{"ReceiveBytes", &cfg.ReceiveBytes, ReceiveBytesDefault, 1, math.MaxInt32},
		{"ArenaBytes", &cfg.ArenaBytes, ArenaBytesDefault, 1, math.MaxInt32},
	} {
		if *f.value == 0 {
			*f.value = f.preset
		}
		if *f.value < f.least || *f.value > f.max {
			return fmt.Errorf("netpoll: %s is %d: choose %d to %d", f.name, *f.value, f.least, f.max)
		}
	}
	if cfg.ArenaBytes < cfg.ReceiveBytes {
		return fmt.Errorf("netpoll: ArenaBytes is %d and holds no share of ReceiveBytes, %d: "+
			"make it a multiple", cfg.ArenaBytes, cfg.ReceiveBytes)
	}
	if cfg.Slice == 0 {
		cfg.Slice = SliceDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
