package certs

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAddresses: addresses are certified when a client has come, in derper's layout, and
// served at once after a restart.
func TestAddresses(t *testing.T) {
	const ip4, ip6 = "203.0.113.7", "2001:db8::7"
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.life = 6 * day
		c := confFor(t, ca)
		c.IPs = true
		a, stop := start(t, ca, c)
		synctest.Wait()
		wantServed(t, a, hello(hostName), hostName)
		for i, ip := range []string{ip4, ip6} {
			wantMiss(t, a, helloAt(ip, ""), "no certificate for "+ip+" yet")
			synctest.Wait()
			wantServed(t, a, helloAt(ip, ""), ip)
			wantServed(t, a, helloAt(ip, ip), ip)
			wantMiss(t, a, helloAt(ip, "203.0.113.8"), "asked for 203.0.113.8")
			wantMiss(t, a, helloAt(ip, "other.example"), "other.example")
			o := *ca.orders[i+1]
			if o.kind != "ip" || o.value != ip || o.profile != "shortlived" {
				t.Errorf("ordered %s %s by profile %q", o.kind, o.value, o.profile)
			}
		}
		wantServed(t, a, helloAt("::ffff:"+ip4, ""), ip4)
		wantMiss(t, a, hello(""), "invalid IP")
		wantMiss(t, a, &tls.ClientHelloInfo{Conn: connTo{}}, "invalid IP")
		wantMiss(t, a, &tls.ClientHelloInfo{Conn: connTo{local: (*net.TCPAddr)(nil)}}, "invalid IP")
		stop()
		wantFiles(t, c.CacheDir, "acme_account+key", "acme-account.key", hostName, ip4+".crt",
			ip4+".key", "2001.db8..7.crt", "2001.db8..7.key")
		b, _ := start(t, ca, c)
		wantServed(t, b, helloAt(ip4, ""), ip4)
		wantServed(t, b, helloAt(ip6, ""), ip6)
		wantServed(t, b, hello(hostName), hostName)
		synctest.Wait()
		if n := ca.ordered(); n != 3 {
			t.Errorf("%d orders, want 3", n)
		}
	})
}

// TestAddressRenewal: an address in use is renewed at a third of its life, whatever
// RenewBefore says; one that nobody has come to since the start is not.
func TestAddressRenewal(t *testing.T) {
	const used, left = "203.0.113.7", "203.0.113.8"
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.life = 6 * day
		c := confFor(t, ca)
		c.Hostname, c.IPs, c.RenewBefore = used, true, time.Hour
		a, stop := start(t, ca, c)
		synctest.Wait()
		first := wantServed(t, a, helloAt(used, ""), used) // the host name: not on demand
		wantMiss(t, a, helloAt(left, ""), "no certificate")
		synctest.Wait()
		wantServed(t, a, helloAt(left, ""), left)
		stop()
		a, stopAgain := start(t, ca, c)
		time.Sleep(4*day - 2*time.Hour)
		if wantServed(t, a, helloAt(used, ""), used); ca.ordered() != 2 {
			t.Errorf("%d orders before the time", ca.ordered())
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if wantServed(t, a, helloAt(used, ""), used).Equal(first) || ca.ordered() != 3 {
			t.Errorf("not renewed; %d orders", ca.ordered())
		}
		if end := a.Stats().NotAfter; !end.After(first.NotAfter) {
			t.Errorf("the end of what is not in use counts: %v", end)
		}
		wantServed(t, a, helloAt(left, ""), left)
		synctest.Wait()
		if n := ca.ordered(); n != 4 {
			t.Errorf("%d orders after a client came", n)
		}
		time.Sleep(20 * day)
		b, err := ACME(c)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.entries); n != 2 {
			t.Errorf("%d entries, want both addresses", n)
		}
		stopAgain()
		time.Sleep(6 * day)
		if b, err = ACME(c); err != nil || len(b.entries) != 1 {
			t.Errorf("%d entries when all has ended; %v", len(b.entries), err)
		}
	})
}

// TestAddressFailure: after a failure an address is tried again on demand only, and not
// within its pause; a thousand clients are one order.
func TestAddressFailure(t *testing.T) {
	const ip = "203.0.113.7"
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.refuses = true
		c := confFor(t, ca)
		c.Hostname, c.IPs = "203.0.113.1", true
		a, _ := start(t, ca, c)
		synctest.Wait()
		own := ca.ordered()
		var clients sync.WaitGroup
		for range 1000 {
			clients.Go(func() { a.GetCertificate(helloAt(ip, "")) })
		}
		clients.Wait()
		synctest.Wait()
		if n := a.Stats(); n.Misses != 1000 || ca.ordered() != own+1 {
			t.Errorf("%d orders for %d clients", ca.ordered()-own, n.Misses)
		}
		time.Sleep(30 * time.Second)
		a.GetCertificate(helloAt(ip, ""))
		synctest.Wait()
		if n := ca.ordered(); n != own+1 {
			t.Errorf("ordered within the pause")
		}
		time.Sleep(3 * time.Hour) // the demand within the pause is met once, then none is left
		synctest.Wait()
		if n := count(ca, ip); n != 2 {
			t.Errorf("%d orders after three hours, want 2", n)
		}
		ca.set(func() { ca.refuses = false })
		a.GetCertificate(helloAt(ip, ""))
		synctest.Wait()
		wantServed(t, a, helloAt(ip, ""), ip)
	})
}

func count(ca *fakeCA, value string) (n int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, o := range ca.orders {
		if o.value == value {
			n++
		}
	}
	return n
}

// TestAddressesMax: a routed prefix costs a bounded number of orders, and an address that
// failed makes room.
func TestAddressesMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.refuses = true
		c := confFor(t, ca)
		c.IPs = true
		a, _ := start(t, ca, c)
		ask := func(from, to int) {
			for i := from; i < to; i++ {
				a.GetCertificate(helloAt(fmt.Sprintf("2001:db8::1:%x", i), ""))
				synctest.Wait()
			}
		}
		ask(0, 100)
		if n := ca.ordered(); n != addressesMax {
			t.Errorf("%d orders, want %d", n, addressesMax)
		}
		time.Sleep(2 * time.Minute)
		ca.set(func() { ca.refuses = false })
		ask(200, 201)
		wantServed(t, a, helloAt("2001:db8::1:c8", ""), "2001:db8::1:c8")
		if n := len(a.entries); n > addressesMax {
			t.Errorf("%d entries", n)
		}
	})
}

// TestAddressNeedsMore: without port 80, or from a CA without the profile, there is no
// certificate, and the log says why.
func TestAddressNeedsMore(t *testing.T) {
	const ip = "203.0.113.7"
	for _, tt := range []struct {
		name     string
		port80   bool
		profiles []string
		want     string
	}{
		{"no port 80", false, []string{"shortlived"}, "-http-port 80"},
		{"no profile", true, []string{"classic"}, "shortlived"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ca := newFakeCA(t)
			ca.profiles = tt.profiles
			c := confFor(t, ca)
			c.Hostname, c.IPs = ip, true
			a, err := ACME(c)
			if err != nil {
				t.Fatal(err)
			}
			if tt.port80 {
				a.HTTPHandler(http.NotFoundHandler())
			}
			if err := a.Serve(serverKey); err != nil {
				t.Fatal(err)
			}
			_, err = a.get(t.Context(), a.host, 0)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
			if got := a.NextProtos(); !slices.Equal(got, []string{"http/1.1"}) {
				t.Errorf("protocols %q", got)
			}
		})
	}
}

// TestSelfSignedIsReplaced: what -certmode manual has made for an address is no certificate
// of a CA.
func TestSelfSignedIsReplaced(t *testing.T) {
	const ip = "203.0.113.7"
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		c.Hostname, c.IPs = ip, true
		pair, err := selfSigned(ip)
		if err != nil {
			t.Fatal(err)
		}
		crt, key := Files(c.CacheDir, ip)
		if err := writePair(pair, c.CacheDir, crt, key); err != nil {
			t.Fatal(err)
		}
		a, _ := start(t, ca, c)
		wantMiss(t, a, helloAt(ip, ""), "no certificate")
		synctest.Wait()
		wantServed(t, a, helloAt(ip, ""), ip)
	})
}

func TestCachedAddrs(t *testing.T) {
	dir := t.TempDir()
	want := []string{"192.0.2.1", "2001:db8::7", "::1", "1:2:3:4:5:6:7:8"}
	for _, ip := range want {
		crt, _ := addrFiles(dir, netip.MustParseAddr(ip))
		if strings.Contains(filepath.Base(crt), ":") {
			t.Errorf("file %s", crt)
		}
		if err := os.WriteFile(crt, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"relay.example.com.crt", "192.0.2.2.key", "::ffff:192.0.2.3.crt",
		"1.2.3.crt", ".crt"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, ip := range cachedAddrs(dir) {
		got = append(got, ip.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzHello: whatever a client says, it gets a certificate for the name or address that it
// has reached, or an error.
func FuzzHello(f *testing.F) {
	for _, name := range []string{"", hostName, "RELAY.example.com.", "203.0.113.7", "[::1]", "::1%x",
		"::ffff:203.0.113.7", "a\x00b", "..", "."} {
		f.Add(name, "http/1.1", []byte{203, 0, 113, 7})
		f.Add(name, "acme-tls/1", []byte{1, 2, 3})
	}
	name, addr := &tls.Certificate{}, &tls.Certificate{}
	ours := netip.MustParseAddr("203.0.113.7")
	a, err := ACME(ACMEConfig{CacheDir: f.TempDir(), Hostname: hostName, IPs: true})
	if err != nil {
		f.Fatal(err)
	}
	a.served.Store(&served{name: name,
		addrs: map[netip.Addr]servedAddr{ours: {pair: addr, asked: true}}})
	f.Fuzz(func(t *testing.T, sni, proto string, local []byte) {
		at, _ := netip.AddrFromSlice(local)
		h := &tls.ClientHelloInfo{ServerName: sni, SupportedProtos: []string{proto},
			Conn: connTo{local: &net.TCPAddr{IP: local}}}
		got, err := a.GetCertificate(h)
		switch {
		case (got == nil) == (err == nil):
			t.Fatalf("%v and %v", got, err)
		case got == name && !strings.EqualFold(strings.TrimSuffix(sni, "."), hostName):
			t.Fatalf("the host name's for %q", sni)
		case got == addr && at.Unmap() != ours:
			t.Fatalf("the address's for %v", at)
		case got != nil && proto == "acme-tls/1":
			t.Fatal("a validation that is not under way")
		}
	})
}
