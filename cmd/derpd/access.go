package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"derpd/relay"
	"derpd/relay/admit"
	"derpd/relay/bootstrap"
	"derpd/relay/httpd"
	"derpd/relay/ratelimit"
)

// access makes what decides who may connect and how fast.
func (s *server) access() (err error) {
	if err := httpd.CheckEnvironment(); err != nil {
		return err
	}
	c := s.cfg
	var names []string
	if c.disallowedApps != "" { // an empty name in the list is refused by admit.New
		names = strings.Split(c.disallowedApps, ",")
	}
	ac := admit.Config{Tailscaled: c.verifyClients, Socket: c.socket, URL: c.verifyURL,
		URLFailOpen: c.verifyFailOpen, DisallowAppNames: names,
		CacheFor: c.verifyCache, Logger: s.log}
	if ac.Enabled() {
		if s.admit, err = admit.New(ac); err != nil {
			return err
		}
	}
	if c.rateFile != "" {
		if s.rate, err = s.loadRate(); err != nil {
			return fmt.Errorf("-rate-config: %w", err)
		}
	}
	s.dns, err = bootstrap.New(bootstrap.Config{Published: c.dnsNames,
		Unpublished: c.unpublishedNames, Logger: s.log})
	return err
}

// loadRate reads the rate configuration. Fields that are neither of the two are told, because one
// may be misspelt, and change nothing, because derper takes them.
func (s *server) loadRate() (ratelimit.Limits, error) {
	lim, unknown, err := ratelimit.Load(s.cfg.rateFile)
	if len(unknown) > 0 {
		s.log.Warn("the rate configuration has fields that mean nothing", "file", s.cfg.rateFile,
			"fields", unknown)
	}
	return lim, err
}

// limitAccepts sets the rate of new connections, which derper limits on its TLS listener.
func (c *config) limitAccepts(rc *relay.Config) {
	if !c.tls || math.IsInf(c.acceptLimit, 0) {
		return
	}
	rc.AcceptsPerSecond, rc.AcceptBurst = c.acceptLimit, c.acceptBurst
}

// watchRate reads the rate configuration again on SIGHUP; without one the signal does
// nothing. A file that is not good changes nothing. It returns when signals are heard.
func (s *server) watchRate(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hup)
		s.reloadRate(ctx, hup)
	}()
}

func (s *server) reloadRate(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		if s.cfg.rateFile == "" {
			continue
		}
		lim, err := s.loadRate()
		if err != nil {
			s.log.Error("client rates not changed", "error", err)
			continue
		}
		s.relay.SetRate(lim)
		s.log.Info("client rates changed", "limits", lim.String())
	}
}
