package main

import (
	"testing"

	"derpd/bench/baseline/loadtest"
	"derpd/loadgen"
)

func TestMain(m *testing.M) { loadtest.Main(m, main) }

func TestPairs(t *testing.T) {
	loadtest.Pairs(t, loadtest.Relay(t, true), loadgen.Options{})
}

func TestReceiverThatDoesNotRead(t *testing.T) {
	loadtest.Frozen(t, loadtest.Relay(t, true))
}

func TestRefusesTLS(t *testing.T) { loadtest.RefusesTLS(t) }

func TestRules(t *testing.T) { loadtest.Rules(t, loadtest.Relay(t, true)) }

func TestSTUN(t *testing.T) { loadtest.STUN(t) }
