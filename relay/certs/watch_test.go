package certs

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenew: a certificate is replaced when its time has come, by one with another key, and
// the meta certificate long before that.
func TestRenew(t *testing.T) {
	for _, tt := range []struct {
		name        string
		life        time.Duration
		renewBefore time.Duration
		still, by   time.Duration // the first one is served until then; the second is by then
	}{
		{"a third", 90 * day, 0, 60*day - time.Hour, 60*day + 2*time.Hour},
		{"at most 30 days", 365 * day, 0, 335*day - time.Hour, 335*day + 2*time.Hour},
		{"as told", 90 * day, 10 * day, 80*day - time.Hour, 80*day + 2*time.Hour},
		{"short", 6 * day, 0, 4*day - time.Hour, 4*day + 2*time.Hour},
		{"told too much", 6 * day, 30 * day, day - time.Hour, day + 2*time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newFakeCA(t)
				ca.life = tt.life
				c := confFor(t, ca)
				c.RenewBefore = tt.renewBefore
				a, _ := start(t, ca, c)
				synctest.Wait()
				first := wantServed(t, a, hello(hostName), hostName)
				time.Sleep(tt.still)
				synctest.Wait()
				if !wantServed(t, a, hello(hostName), hostName).Equal(first) {
					t.Fatal("renewed early")
				}
				time.Sleep(tt.by - tt.still)
				synctest.Wait()
				second := wantServed(t, a, hello(hostName), hostName)
				if second.Equal(first) {
					t.Fatal("not renewed")
				}
				if a.Stats().NotAfter != second.NotAfter || ca.ordered() != 2 {
					t.Errorf("%+v after %d orders", a.Stats(), ca.ordered())
				}
			})
		})
	}
}

// TestRenewByNow: what is due is told by Now, not by the machine's clock.
func TestRenewByNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		var ahead time.Duration
		c.Now = func() time.Time { return time.Now().Add(ahead) }
		a, stop := start(t, ca, c)
		synctest.Wait()
		first := wantServed(t, a, hello(hostName), hostName)
		stop()
		ahead = 61 * day
		a, _ = start(t, ca, c)
		if !wantServed(t, a, hello(hostName), hostName).Equal(first) {
			t.Error("the stored one was not served meanwhile")
		}
		synctest.Wait()
		if wantServed(t, a, hello(hostName), hostName).Equal(first) {
			t.Error("not renewed")
		}
	})
}

// TestClockAhead: a clock that is years ahead does not make orders follow one another.
func TestClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		c.Now = func() time.Time { return time.Now().AddDate(5, 0, 0) }
		a, _ := start(t, ca, c)
		time.Sleep(14 * day)
		if _, err := a.GetCertificate(hello(hostName)); err != nil || ca.ordered() != 1 {
			t.Errorf("%d orders in 14 days; %v", ca.ordered(), err)
		}
	})
}

// TestRenewedElsewhere: a certificate that another process has put into the cache is taken.
func TestRenewedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		a, _ := start(t, ca, c)
		synctest.Wait()
		first := wantServed(t, a, hello(hostName), hostName)
		time.Sleep(59 * day)
		writeAutocert(t, ca, c)
		time.Sleep(2 * day)
		if wantServed(t, a, hello(hostName), hostName).Equal(first) || ca.ordered() != 1 {
			t.Errorf("not taken; %d orders", ca.ordered())
		}
	})
}

// TestBackoff: after failures of any kind the pause doubles from 1 to 30 minutes, what is
// stored stays in service, and success ends it.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		begin func(*fakeCA)
		end   func(*fakeCA)
		each  time.Duration // that an attempt itself takes
	}{
		{"refused", func(ca *fakeCA) { ca.refuses = true },
			func(ca *fakeCA) { ca.refuses = false }, 0},
		{"silent", func(ca *fakeCA) { ca.silent = true },
			func(ca *fakeCA) { ca.silent = false }, requestMax},
		{"not validated", func(ca *fakeCA) { ca.fails[http01], ca.fails[tlsALPN01] = true, true },
			func(ca *fakeCA) { clear(ca.fails) }, 0},
		{"offers others", func(ca *fakeCA) { ca.offers = []string{"dns-01"} },
			func(ca *fakeCA) { ca.offers = []string{http01} }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newFakeCA(t)
				c := confFor(t, ca)
				writeAutocert(t, ca, c)
				time.Sleep(70 * day)
				tt.begin(ca)
				a, err := ACME(c)
				if err != nil {
					t.Fatal(err)
				}
				ca.auto, ca.port80 = a, a.HTTPHandler(http.NotFoundHandler())
				if err := a.Serve(serverKey); err != nil {
					t.Fatal(err)
				}
				a.period = time.Second
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go a.Watch(ctx)
				old := wantServed(t, a, hello(hostName), hostName)
				for i, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
					time.Sleep(tt.each + time.Second)
					synctest.Wait()
					if got := a.Stats().Failed; got != uint64(i+1) {
						t.Fatalf("%d failures, want %d", got, i+1)
					}
					wantServed(t, a, hello(hostName), hostName)
					if i == 6 {
						ca.set(func() { tt.end(ca) })
					}
					time.Sleep(pause*time.Minute - 2*time.Second)
					synctest.Wait()
					if got := a.Stats().Failed; got != uint64(i+1) {
						t.Fatalf("%d failures within a pause of %d min, want %d", got, pause, i+1)
					}
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if wantServed(t, a, hello(hostName), hostName).Equal(old) {
					t.Error("not renewed")
				}
				if pause := a.entries[a.host].pause; pause != 0 {
					t.Errorf("pause %v after success", pause)
				}
			})
		})
	}
}

// TestFailedValidations: both kinds are tried at once, and then one at a time, so that there are never
// more failures than Let's Encrypt allows: five, and another every 12 minutes.
func TestFailedValidations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.fails[http01], ca.fails[tlsALPN01] = true, true
		began := time.Now()
		startLooking(t, ca, confFor(t, ca), time.Second)
		for range 3 * 60 {
			synctest.Wait()
			ca.set(func() {
				since := time.Since(began)
				if n := len(ca.looks); n > 5+int(since/(12*time.Minute)) {
					t.Errorf("%d validations have failed after %v: %v", n, since, ca.looks)
				}
			})
			time.Sleep(time.Minute)
		}
		ca.set(func() {
			want := []string{tlsALPN01, http01, http01, tlsALPN01, http01, tlsALPN01}
			if len(ca.looks) < 8 || !slices.Equal(ca.looks[:len(want)], want) {
				t.Errorf("validations: %v, want %v and so on", ca.looks, want)
			}
		})
	})
}

// TestRetryAfter: a CA that says when it wants to be asked again is not asked before, for a day at most.
func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		says  func(now time.Time) string
		pause time.Duration
	}{
		{"seconds", func(time.Time) string { return "5400" }, 90 * time.Minute},
		{"authz", func(time.Time) string { return "5400" }, 90 * time.Minute},
		{"date", func(now time.Time) string {
			return now.Add(2 * time.Hour).UTC().Format(http.TimeFormat)
		}, 2 * time.Hour},
		{"past", func(now time.Time) string {
			return now.Add(-time.Hour).UTC().Format(http.TimeFormat)
		}, retryMin},
		{"sooner than we would", func(time.Time) string { return "1" }, retryMin},
		{"nonsense", func(time.Time) string { return "soon" }, retryMin},
		{"for ever", func(time.Time) string { return "2000000000" }, retryAfterMax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newFakeCA(t)
				ca.limits = tt.says(time.Now())
				if tt.name == "authz" { // else orders are limited
					ca.limited = tt.name
				}
				startLooking(t, ca, confFor(t, ca), time.Second)
				synctest.Wait()
				if n := ca.ordered(); n != 1 {
					t.Fatalf("asked %d times at once", n)
				}
				time.Sleep(tt.pause - time.Minute)
				synctest.Wait()
				if n := ca.ordered(); n != 1 {
					t.Errorf("asked %d times within %v", n, tt.pause)
				}
				time.Sleep(time.Minute + 2*time.Second) // watch looks each second
				synctest.Wait()
				if n := ca.ordered(); n != 2 {
					t.Errorf("asked %d times after %v, want 2", n, tt.pause)
				}
			})
		})
	}
}

// TestRelinquish: what a failed order leaves pending is given back.
func TestRelinquish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.offers = []string{"dns-01"}
		start(t, ca, confFor(t, ca))
		synctest.Wait()
		if n := ca.ordered(); n != 2 {
			t.Fatalf("%d orders, want one for each validation", n)
		}
		for i, o := range ca.orders {
			if o.authz != "deactivated" {
				t.Errorf("authorization of order %d is %s", i, o.authz)
			}
		}
	})
}

// TestStopWhileSilent: Watch returns while the CA keeps an attempt waiting, and does not call
// that a failure.
func TestStopWhileSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.silent = true
		a, stop := start(t, ca, confFor(t, ca))
		synctest.Wait()
		before := time.Now()
		stop()
		if took := time.Since(before); took != 0 || a.Stats().Failed != 0 {
			t.Errorf("stopped after %v, %d failures", took, a.Stats().Failed)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		a.settle(ended, result{subject: a.host, err: context.Canceled}, time.Now())
		if a.Stats().Failed != 0 {
			t.Error("an attempt that was stopped counts as failed")
		}
	})
}

// silentCA is a real one: it accepts, and never says a word.
func silentCA(t *testing.T) (url string, accepted <-chan struct{}) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{}, 1)
	var conns []net.Conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			select {
			case first <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
		for _, c := range conns {
			c.Close()
		}
	})
	return "https://" + ln.Addr().String() + "/directory", first
}

// TestSilentCA: while an attempt waits for the CA, handshakes are served or refused at once.
func TestSilentCA(t *testing.T) {
	const many = 2000
	ca := newFakeCA(t)
	c := confFor(t, ca)
	ca.life = time.Hour
	writeAutocert(t, ca, c)
	var accepted <-chan struct{}
	c.Directory, accepted = silentCA(t)
	c.HTTPClient, c.IPs = nil, true
	c.Now = func() time.Time { return time.Now().Add(59 * time.Minute) } // due
	a, _ := start(t, ca, c)
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Fatal("the CA was not asked")
	}
	begin := time.Now()
	for range many {
		if _, err := a.GetCertificate(hello(hostName)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.GetCertificate(helloAt("192.0.2.1", "")); err == nil {
			t.Fatal("served a certificate for an address")
		}
		if _, err := a.GetCertificate(&tls.ClientHelloInfo{ServerName: hostName,
			SupportedProtos: []string{"acme-tls/1"}}); err == nil {
			t.Fatal("served a validation")
		}
	}
	if took := time.Since(begin); took > requestMax/2 { // one that waits for the CA takes all of it
		t.Errorf("%d times three handshakes took %v", many, took)
	}
	if got := a.Stats(); got.Misses != many || got.Refused != many || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	handshakes(t, a, 50)
}

// handshakes does whole TLS handshakes, one after the other.
func handshakes(t *testing.T, a *Auto, n int) {
	t.Helper()
	conf := &tls.Config{GetCertificate: a.GetCertificate, NextProtos: a.NextProtos()}
	for range n {
		client, server := net.Pipe()
		failed := make(chan error, 1)
		go func() { failed <- tls.Server(server, conf).Handshake() }()
		c := tls.Client(client, &tls.Config{ServerName: hostName, InsecureSkipVerify: true,
			NextProtos: []string{"http/1.1"}})
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		client.Close()
		server.Close()
	}
}

// TestServeDoesNotAllocate: a handshake for the host name only loads a pointer.
func TestServeDoesNotAllocate(t *testing.T) {
	ca := newFakeCA(t)
	c := confFor(t, ca)
	writeAutocert(t, ca, c)
	a, err := ACME(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Serve(serverKey); err != nil {
		t.Fatal(err)
	}
	h := hello(hostName)
	if n := testing.AllocsPerRun(100, func() { a.GetCertificate(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
