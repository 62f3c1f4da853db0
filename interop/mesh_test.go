package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// settle waits until every node knows every client.
func settle(t *testing.T, nodes []*node, clients int) {
	t.Helper()
	for _, n := range nodes {
		// Each link logs in with its node's key, which counts as a client of the other node.
		n.WaitMetric(t, "derp_clients_total", func(v float64) bool { return v >= float64(clients) })
	}
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
			settle(t, nodes, len(clients))
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
			settle(t, nodes, 2)
			exchange(t, []*harness.Peer{stays, moves}, 0)
			again := nodes[0].LoginAs(t, moves.Private)
			moves.Close()
			exchange(t, []*harness.Peer{stays, again}, 1)
		})
	}
}

// One node is killed while traffic flows between the others, and returns.
func TestMeshNodeReturns(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a re-dial; part of make interop")
	}
	nodes := region(t, meshKinds(t)[1]...)
	var clients []*harness.Peer
	for _, n := range nodes {
		clients = append(clients, n.Login(t))
	}
	settle(t, nodes, len(clients))
	exchange(t, clients, 0)

	gone := nodes[2]
	gone.Stop(t)
	rest := clients[:2]
	for round := range 50 {
		for i, from := range rest { // the one that left is still being sent to
			from.SendTo(t, clients[2].Key, []byte("anyone there?"))
			packet := fmt.Appendf(nil, "round %d from %d", round, i)
			to := rest[1-i]
			from.SendTo(t, to.Key, packet)
			for {
				m := to.Next(t)
				if p, ok := m.(derp.ReceivedPacket); ok {
					if !bytes.Equal(p.Data, packet) {
						t.Fatalf("got %q, want %q", p.Data, packet)
					}
					break
				}
			}
		}
	}

	back, _ := harness.Prepare(t, harness.Options{Kind: gone.Kind, TLS: true,
		Hostname: gone.Hostname})
	back.Addr, back.STUNAddr, back.Certs, back.Dir = gone.Addr, gone.STUNAddr, gone.Certs, gone.Dir
	back.Run(t, gone.args)
	nodes[2] = &node{back, gone.args}
	for _, n := range nodes {
		n.WaitMetric(t, "derp_watchers", harness.Is(2))
	}
	clients[2] = back.LoginAs(t, clients[2].Private)
	settle(t, nodes, len(clients))
	deadline := time.Now().Add(20 * time.Second)
	for { // the others learn of the key when their link to the node is up again
		if slices.Equal(reached(t, clients), []bool{true, true, true}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the node that returned is not reached")
		}
	}
}

// reached tells which clients the first one reaches.
func reached(t *testing.T, clients []*harness.Peer) []bool {
	t.Helper()
	got := make([]bool, len(clients))
	for i, to := range clients {
		packet := []byte(fmt.Sprintf("to %d", i))
		clients[0].SendTo(t, to.Key, packet)
		end := time.Now().Add(300 * time.Millisecond)
		for !got[i] && time.Now().Before(end) {
			for _, m := range to.Pending() {
				if p, ok := m.(derp.ReceivedPacket); ok && bytes.Equal(p.Data, packet) {
					got[i] = true
				}
			}
		}
	}
	return got
}
