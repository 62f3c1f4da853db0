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

// A rate is kept by holding the sender back, without a drop, and new ones apply at once while
// packets flow: more, and less again.
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
	const slow, fast = 400_000, 4_000_000
	set(slow)
	r := harness.Start(t, harness.Options{Args: []string{"-rate-config", file}})
	from, to := r.Login(t), r.Login(t)
	packet := bytes.Repeat([]byte{7}, 10_000)
	var load sync.WaitGroup
	load.Go(func() { // until the connection is closed
		for from.Client.Send(to.Key, packet) == nil {
		}
	})
	// take returns how many bytes a second arrive.
	take := func(packets int) float64 {
		start := time.Now()
		for range packets {
			to.WantPacket(t, from.Key, packet)
		}
		return float64(packets*len(packet)) / time.Since(start).Seconds()
	}
	take(30) // the burst and one receive (64 KiB) may come ahead of the rate
	for i, rate := range []int{slow, fast, slow} {
		if i > 0 {
			set(rate)
			if err := syscall.Kill(r.Pid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			take(60) // what was on the way, and the new burst
		}
		// A stall of the machine may spoil a window; a wrong rate spoils all.
		for left := 3; ; left-- {
			got := take(rate * 2 / len(packet))
			t.Logf("%.0f bytes/s at a rate of %d", got, rate)
			if got >= 0.7*float64(rate) && got <= 1.3*float64(rate) {
				break
			}
			if left == 1 {
				t.Errorf("%.0f bytes/s at a rate of %d, in the last of three windows", got, rate)
				break
			}
		}
	}
	if n := r.Metrics(t).Sum("derp_packets_dropped"); n != 0 {
		t.Errorf("%v packets were dropped for a rate", n)
	}
	from.Close()
	load.Wait()
}
