package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// controller is an admission controller that allows some keys.
type controller struct {
	*httptest.Server
	mu      sync.Mutex
	allowed map[key.NodePublic]bool
	asked   int
}

func newController(t *testing.T) *controller {
	c := &controller{allowed: map[key.NodePublic]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req tailcfg.DERPAdmitClientRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || !req.Source.IsLoopback() {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked++
		json.NewEncoder(w).Encode(tailcfg.DERPAdmitClientResponse{Allow: c.allowed[req.NodePublic]})
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *controller) allow(k key.NodePublic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed[k] = true
}

// A controller admits one client and refuses another, which gets no ServerInfo.
func TestVerifyClientURL(t *testing.T) {
	t.Parallel()
	c := newController(t)
	r := harness.Start(t, harness.Options{Args: []string{"-verify-client-url", c.URL}})
	friend, stranger := key.NewNode(), key.NewNode()
	c.allow(friend.Public())
	p := r.LoginAs(t, friend)
	p.SendTo(t, friend.Public(), []byte("admitted"))
	p.WantPacket(t, friend.Public(), []byte("admitted"))
	if r.Admits(t, stranger) {
		t.Error("a client that is not admitted was let in")
	}
	p.Ping(t)
}

// A controller that is gone admits or refuses everyone, as -verify-client-url-fail-open says.
func TestVerifyClientURLUnreachable(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{true, false} {
		t.Run(fmt.Sprint("open=", open), func(t *testing.T) {
			r := harness.Start(t, harness.Options{Args: []string{
				"-verify-client-url", "http://127.0.0.1:1/",
				fmt.Sprint("-verify-client-url-fail-open=", open)}})
			if r.Admits(t, key.NewNode()) != open {
				t.Errorf("a client was let in: %v", !open)
			}
		})
	}
}

// A rate is kept by holding the sender back, without a drop, and a new one applies at once.
func TestRateConfig(t *testing.T) {
	if testing.Short() {
		t.Skip("measures a rate for seconds; part of make interop")
	}
	file := filepath.Join(t.TempDir(), "rates.json")
	set := func(rate int) {
		text := fmt.Sprintf(`{"PerClientRateLimitBytesPerSec":%d,"PerClientRateBurstBytes":70000}`,
			rate)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const slow = 400_000
	set(slow)
	r := harness.Start(t, harness.Options{Args: []string{"-rate-config", file}})
	from, to := r.Login(t), r.Login(t)
	packet := bytes.Repeat([]byte{7}, 10_000)
	transfer := func(n int) time.Duration {
		start := time.Now()
		go func() {
			for range n {
				if from.Client.Send(to.Key, packet) != nil {
					return
				}
			}
		}()
		for range n {
			to.WantPacket(t, from.Key, packet)
		}
		return time.Since(start)
	}
	// The burst and one receive (64 KiB) may come ahead of the rate.
	if took := transfer(120); took < 2*time.Second || took > 6*time.Second {
		t.Errorf("1.2 MB at %d bytes/s took %v, want 2 to 6 s", slow, took)
	}
	set(50_000_000)
	if err := syscall.Kill(r.Pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for transfer(60) > 700*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatal("the new rate does not apply")
		}
	}
	if n := r.Metrics(t).Sum("derp_packets_dropped"); n != 0 {
		t.Errorf("%v packets were dropped for a rate", n)
	}
}
