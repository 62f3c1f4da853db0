package tailnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"
)

// helperVariable, set in the environment, makes the test binary one of the helpers that run
// inside the relay's namespace: "control", or "metrics".
const helperVariable = "DERPD_TAILNET_HELPER"

// metricsURL is asked from the relay's own namespace, because /debug is for loopback only.
const metricsURL = "https://127.0.0.1/debug/varz"

// Relay is the relay under load and its processor time.
type Relay struct {
	Kind    harness.Kind
	process *Process
}

// StartRelay starts a relay with TLS on port 443 and STUN on 3478, as in production.
func (w *World) StartRelay(t testing.TB, kind harness.Kind) (*Relay, error) {
	t.Helper()
	harness.WriteCerts(t, w.Dir, relayName)
	p, err := w.Start("relay", string(kind), nil, harness.Build(t, string(kind)),
		"-a", ":443", "-certmode", "manual", "-certdir", w.Dir, "-hostname", relayName,
		"-c", w.path("relay.key"), "-http-port", "-1")
	if err != nil {
		return nil, err
	}
	r := &Relay{Kind: kind, process: p}
	return r, await(string(kind), func() error {
		_, err := r.Metrics()
		return err
	})
}

// StartControl starts the control server beside the relay.
func (w *World) StartControl() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := w.Start("relay", "control", []string{helperVariable + "=control"}, self)
	if err != nil {
		return err
	}
	return await("the control server", func() error {
		select {
		case <-p.exited:
			return errors.New(p.Log.Tail())
		default:
		}
		if !strings.Contains(p.Log.String(), controlReady) {
			return fmt.Errorf("it says %q", p.Log.Tail())
		}
		return nil
	})
}

// Metrics scrapes the relay through a helper in its namespace.
func (r *Relay) Metrics() (harness.Metrics, error) {
	select {
	case <-r.process.exited:
		return nil, fmt.Errorf("%s ended:\n%s", r.Kind, r.process.Log.Tail())
	default:
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandWaitMax)
	defer cancel()
	text, err := Run(ctx, "relay", []string{helperVariable + "=metrics"}, self)
	return harness.ParseMetrics(text), err
}

// CPU returns the processor time the relay has used since its start, user and system.
func (r *Relay) CPU() (time.Duration, error) { return processCPU(r.process.Pid()) }

// printMetrics is the helper behind Metrics.
func printMetrics(w io.Writer) error {
	client := &http.Client{
		Timeout: commandWaitMax,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			ServerName:         relayName,
			InsecureSkipVerify: true, // the relay's own namespace: nobody else is there
		}},
	}
	resp, err := client.Get(metricsURL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", metricsURL, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// drops formats the drop counters that moved between two scrapes.
func drops(before, after harness.Metrics) string {
	var moved []string
	for name, v := range after {
		labels, ok := strings.CutPrefix(name, "derp_packets_dropped")
		if n := v - before[name]; ok && n != 0 {
			moved = append(moved, fmt.Sprintf("%.0f %s", n, labels))
		}
	}
	if len(moved) == 0 {
		return "none"
	}
	return strings.Join(moved, ", ")
}
