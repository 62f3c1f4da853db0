package main

import (
	"testing"

	"derpd/bench/baseline/loadtest"
	"derpd/loadgen"
)

func TestMain(m *testing.M) { loadtest.Main(m, main) }

func TestPairs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plain bool
		fast  string
	}{{"TLS, fast start", false, "auto"}, {"TLS, upgrade", false, "off"}, {"plain", true, "auto"}} {
		t.Run(tc.name, func(t *testing.T) {
			loadtest.Pairs(t, loadtest.Relay(t, tc.plain), loadgen.Options{FastLog: tc.fast})
		})
	}
}

func TestReceiverThatDoesNotRead(t *testing.T) {
	loadtest.Frozen(t, loadtest.Relay(t, false))
}

func TestRules(t *testing.T) { loadtest.Rules(t, loadtest.Relay(t, true)) }
