package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Resolver is what the room needs of DNS; *net.Resolver is one. Errors should be
// *net.DNSError, whose IsNotFound tells an answer ("there is none") from a failure.
type Resolver interface {
	LookupIP(ctx context.Context, network, host string) ([]net.IP, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Config is what New needs. The zero Config is valid: nothing is looked up and every request
// is answered with an empty body.
type Config struct {
	// Published and Unpublished are lists of names as derper's flags have them
	// (-bootstrap-dns-names, -unpublished-bootstrap-dns-names): separated by commas, each
	// "name" or "name/txtname", where the TXT record of txtname holds a whole number from 0
	// to 100, the percentage of clients that are told. Without txtname all are. For a
	// published name the percentage has no effect.
	Published, Unpublished string

	Resolver Resolver     // nil is net.DefaultResolver
	Logger   *slog.Logger // nil is slog.Default()
}

// entry is one name of a list. It is comparable.
type entry struct {
	name string
	txt  string // the name whose TXT record holds the percentage; empty is 100 %
}

// New checks the lists. Nothing is looked up before Run.
func New(cfg Config) (*Service, error) {
	published, err := parseList(cfg.Published)
	if err != nil {
		return nil, fmt.Errorf("-bootstrap-dns-names %w", err)
	}
	unpublished, err := parseList(cfg.Unpublished)
	if err != nil {
		return nil, fmt.Errorf("-unpublished-bootstrap-dns-names %w", err)
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Service{
		published:   published,
		unpublished: unpublished,
		resolver:    cfg.Resolver,
		log:         cfg.Logger,
		failing:     map[string]trouble{},
		queried:     map[string]struct{}{},
	}
	s.current.Store(&answers{})
	return s, nil
}

// parseList splits a list. Spaces around names and empty items mean nothing.
func parseList(list string) ([]entry, error) {
	var all []entry
	seen := map[string]string{}
	for item := range strings.SplitSeq(list, ",") {
		name, txt, _ := strings.Cut(item, "/")
		e := entry{strings.TrimSpace(name), strings.TrimSpace(txt)}
		switch {
		case e == entry{}:
			continue
		case e.name == "":
			return nil, fmt.Errorf("has %q, with no name in front of the slash: write "+
				"name/txtname", item)
		case len(e.name) > nameBytesMax || len(e.txt) > nameBytesMax:
			return nil, fmt.Errorf("has a name of more than %d bytes, %.40q...: shorten it",
				nameBytesMax, item)
		}
		if other, twice := seen[e.name]; twice {
			if other != e.txt {
				return nil, fmt.Errorf("has %q twice, with different percentages: remove one",
					e.name)
			}
			continue
		}
		seen[e.name] = e.txt
		all = append(all, e)
	}
	return all, nil
}

// Run looks the names up now and every ten minutes, until ctx ends; a minute after a refresh
// in which something failed it tries again. With nothing configured it returns at once. Run it
// once, on a goroutine of its own.
func (s *Service) Run(ctx context.Context) {
	if len(s.published) == 0 && len(s.unpublished) == 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if s.refresh(ctx) {
			timer.Reset(refreshEvery)
		} else {
			timer.Reset(retryEvery)
		}
	}
}
