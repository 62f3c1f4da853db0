package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// node is one relay of a region.
type node struct {
	*harness.Relay
	args []string
}

// region starts one relay of each kind, each meshed with all (its own name included), and
// waits until everyone watches everyone.
func region(t *testing.T, kinds ...harness.Kind) []*node {
	t.Helper()
	dir := t.TempDir()
	var psk [32]byte
	rand.Read(psk[:])
	pskFile := filepath.Join(dir, "mesh.key")
	if err := os.WriteFile(pskFile, []byte(hex.EncodeToString(psk[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	var names []string
	var authorities []byte
	for i, kind := range kinds {
		name := fmt.Sprintf("node%d.mesh.test", i)
		r, args := harness.Prepare(t, harness.Options{Kind: kind, TLS: true, Hostname: name})
		host, port, err := net.SplitHostPort(r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name+":"+port+"/"+host)
		ca, err := os.ReadFile(r.Certs.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		authorities = append(authorities, ca...)
		nodes = append(nodes, &node{r, append(args, "-mesh-psk-file", pskFile)})
	}
	trust := filepath.Join(dir, "authorities.pem")
	if err := os.WriteFile(trust, authorities, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trust)
	for _, n := range nodes {
		n.args = append(n.args, "-mesh-with", strings.Join(names, ","))
		n.Run(t, n.args)
	}
	for _, n := range nodes {
		n.WaitMetric(t, "derp_watchers", harness.Is(float64(len(nodes)-1)))
	}
	return nodes
}

// exchange has every client send to every other and itself, and waits for all packets.
func exchange(t *testing.T, clients []*harness.Peer, round int) {
	t.Helper()
	for i, from := range clients {
		for j, to := range clients {
			packet := bytes.Repeat([]byte{byte(i), byte(j), byte(round)}, 300)
			from.SendTo(t, to.Key, packet)
			to.WantPacket(t, from.Key, packet)
		}
	}
}

// settle waits until every node knows every client: until each has got the last probe that each other
// has sent. What was sent before is then dropped or read, since packets between two keep their order.
func settle(t *testing.T, clients ...*harness.Peer) {
	t.Helper()
	for _, from := range clients {
		for _, to := range clients {
			if from != to {
				probe(t, from, to)
			}
		}
	}
}

func probe(t *testing.T, from, to *harness.Peer) {
	t.Helper()
	deadline := time.Now().Add(harness.ReplyWaitMax)
	for n := 0; time.Now().Before(deadline); n++ {
		packet := fmt.Appendf(nil, "probe %d", n)
		from.SendTo(t, to.Key, packet)
		for {
			m, open := to.NextOrEndWithin(t, 300*time.Millisecond)
			if !open {
				t.Fatal("the connection has ended")
			}
			if m == nil {
				break // the node did not know it yet
			}
			if p, ok := m.(derp.ReceivedPacket); ok && p.Source == from.Key &&
				bytes.Equal(p.Data, packet) {
				return
			}
		}
	}
	t.Fatal("a client is not reached from another node")
}

func meshKinds(t *testing.T) [][]harness.Kind {
	if harness.Under() != harness.Derpd {
		t.Skip("a region of derpers alone shows nothing about derpd")
	}
	return [][]harness.Kind{
		{harness.Derpd, harness.Derpd},
		{harness.Derpd, harness.Derper, harness.Derpd},
	}
}

func TestMesh(t *testing.T) {
	for _, kinds := range meshKinds(t) {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			nodes := region(t, kinds...)
			var clients []*harness.Peer
			for _, n := range nodes {
				clients = append(clients, n.Login(t))
			}
			settle(t, clients...)
			for round := range 3 {
				exchange(t, clients, round)
			}

			// A key that leaves the region is gone for everyone who heard from it.
			last := clients[len(clients)-1]
			last.Close()
			for _, c := range clients[:len(clients)-1] {
				c.WantPeerGone(t, last.Key, derp.PeerGoneReasonDisconnected)
			}

			// A disco packet to a key that is nowhere is answered.
			nobody := key.NewNode().Public()
			clients[0].SendTo(t, nobody, harness.Disco(100))
			clients[0].WantPeerGone(t, nobody, derp.PeerGoneReasonNotHere)
		})
	}
}

// A client that moves to another node of the region is reached there.
func TestMeshMove(t *testing.T) {
	for _, kinds := range meshKinds(t) {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			nodes := region(t, kinds...)
			stays := nodes[0].Login(t)
			moves := nodes[1].Login(t)
			settle(t, stays, moves)
			exchange(t, []*harness.Peer{stays, moves}, 0)
			again := nodes[0].LoginAs(t, moves.Private)
			moves.Close()
			exchange(t, []*harness.Peer{stays, again}, 1)
		})
	}
}

// flow is two clients that answer each other all the time.
type flow struct {
	done    chan struct{}
	ended   chan error
	packets atomic.Int64 // that have arrived
}

// startFlow has a send a packet to b, b to a, and so on, each when the one before has arrived.
// Every packet must arrive, whatever happens to nodes that are not theirs.
func startFlow(t *testing.T, a, b *harness.Peer) *flow {
	f := &flow{done: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		for n := 0; ; n++ {
			select {
			case <-f.done:
				f.ended <- nil
				return
			default:
			}
			packet := fmt.Appendf(nil, "packet %d", n)
			if err := a.Send(b.Key, packet); err != nil {
				f.ended <- err
				return
			}
			if err := awaitPacket(t, b, packet); err != nil {
				f.ended <- err
				return
			}
			f.packets.Add(1)
			a, b = b, a
		}
	}()
	return f
}

// awaitPacket reads past what is no packet.
func awaitPacket(t *testing.T, p *harness.Peer, want []byte) error {
	for {
		m, open := p.NextOrEndWithin(t, harness.ReplyWaitMax)
		if got, ok := m.(derp.ReceivedPacket); ok {
			if !bytes.Equal(got.Data, want) {
				return fmt.Errorf("got %q, want %q", got.Data, want)
			}
			return nil
		}
		if m == nil {
			return fmt.Errorf("%q did not arrive (connection open: %v)", want, open)
		}
	}
}

// moves waits until packets have arrived that were sent after the call.
func (f *flow) moves(t *testing.T) {
	t.Helper()
	const some = 100
	deadline := time.Now().Add(harness.ReplyWaitMax)
	for before := f.packets.Load(); f.packets.Load() < before+some; {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets in %v", f.packets.Load()-before, harness.ReplyWaitMax)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the flow, which must not have failed.
func (f *flow) stop(t *testing.T) {
	t.Helper()
	close(f.done)
	if err := <-f.ended; err != nil {
		t.Error(err)
	}
}

// One node of three is killed, and returns, while traffic flows between the others; so in turn
// with a derpd and a derper.
func TestMeshNodeReturns(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a re-dial; part of make interop")
	}
	for _, killed := range []int{2, 1} {
		kinds := meshKinds(t)[1]
		t.Run(string(kinds[killed]), func(t *testing.T) {
			nodes := region(t, kinds...)
			survivors := []*node{nodes[0], nodes[3-killed]}
			a, b := survivors[0].Login(t), survivors[1].Login(t)
			witness, lost := survivors[0].Login(t), nodes[killed].Login(t)
			settle(t, a, b, witness, lost)
			exchange(t, []*harness.Peer{a, b, witness, lost}, 0)
			traffic := startFlow(t, a, b)
			traffic.moves(t)

			gone := nodes[killed]
			gone.Kill()
			for _, n := range survivors {
				n.WaitMetric(t, "derp_watchers", harness.Is(1))
			}
			witness.SendTo(t, lost.Key, []byte("anyone there?"))
			traffic.moves(t)

			back, _ := harness.Prepare(t, harness.Options{Kind: gone.Kind, TLS: true,
				Hostname: gone.Hostname})
			back.Addr, back.STUNAddr = gone.Addr, gone.STUNAddr
			back.Certs, back.Dir = gone.Certs, gone.Dir
			back.Run(t, gone.args)
			nodes[killed] = &node{back, gone.args}
			for _, n := range nodes {
				n.WaitMetric(t, "derp_watchers", harness.Is(2))
			}
			again := back.LoginAs(t, lost.Private)
			probe(t, witness, again)
			traffic.moves(t)
			traffic.stop(t)
			t.Logf("%d packets between the others", traffic.packets.Load())
			probe(t, again, b)
		})
	}
}
