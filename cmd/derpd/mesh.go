package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"derpd/relay"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// devMeshKey is where derper's -dev takes its mesh key from.
const devMeshKey = "TAILSCALE_DERPER_MESH_KEY"

// defaultMeshFile is the first of derper's usual places that exists.
func defaultMeshFile() string {
	places := []string{"/home/derp/keys/derp-mesh.key"}
	if home := os.Getenv("HOME"); home != "" {
		places = append(places, filepath.Join(home, "keys", "derp-mesh.key"))
	}
	for _, p := range places {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// meshPeer is one entry of -mesh-with: "name", or "name/dialhost" where to dial is not where
// the name points. The name may have a port.
type meshPeer struct {
	name, dial string // dial is host:port
}

// parseMeshWith reads -mesh-with; an entry that is this node's own name is left out.
func parseMeshWith(s, own, port string) (peers []meshPeer, err error) {
	for entry := range strings.SplitSeq(s, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, dial, two := strings.Cut(entry, "/")
		if name == "" || two && (dial == "" || strings.Contains(dial, "/")) {
			return nil, fmt.Errorf("-mesh-with %q: use name or name/dialhost, separated by "+
				"commas", entry)
		}
		if name == own {
			continue
		}
		host, p := name, port
		if h, q, err := net.SplitHostPort(name); err == nil {
			host, p = h, q
		}
		if !two {
			dial = host
		}
		peers = append(peers, meshPeer{name: name, dial: net.JoinHostPort(strings.Trim(dial, "[]"), p)})
	}
	return peers, nil
}

// meshConfig reads the mesh key and says whom to dial.
func (c *config) meshConfig() (m relay.Mesh, err error) {
	text := ""
	source, remedy := "-mesh-psk-file "+c.meshFile, "put it into a file and name that with "+
		"-mesh-psk-file"
	switch {
	case c.dev: // the file is not looked at, as with derper
		text = os.Getenv(devMeshKey)
		source, remedy = "environment variable "+devMeshKey, "with -dev put it into the "+
			"environment variable "+devMeshKey
	case c.meshFile != "":
		b, err := os.ReadFile(c.meshFile)
		if err != nil {
			return m, fmt.Errorf("-mesh-psk-file: %w: put the region's mesh key there (64 "+
				"hexadecimal digits, as openssl rand -hex 32 prints)", err)
		}
		text = string(b)
	}
	if strings.TrimSpace(text) != "" { // an empty file is no key, as for derper
		if m.Key, err = derp.ParseMeshKey(text); err != nil {
			return m, fmt.Errorf("%s: %w", source, err)
		}
	}
	// Other nodes are dialled over TLS whatever this one serves, since the login holds the mesh
	// key: who gets it must have proved its name. With -dev all nodes are at hand.
	port := "443"
	if c.dev {
		port = strconv.Itoa(int(c.addr.Port()))
	}
	peers, err := parseMeshWith(c.meshWith, c.hostname, port)
	if err != nil {
		return m, err
	}
	if len(peers) > 0 && m.Key.IsZero() {
		return m, fmt.Errorf("-mesh-with needs the region's mesh key: %s", remedy)
	}
	for _, p := range peers {
		m.Peers = append(m.Peers, relay.MeshPeer{Name: p.name, Resolve: p.resolve})
	}
	if !c.dev {
		m.NewHandshake = meshHandshake
	}
	return m, nil
}

// resolve looks the peer's addresses up each time it is dialled.
func (p meshPeer) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(p.dial)
	if err != nil {
		return nil, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(n))
	}
	return addrs, nil
}

// meshHandshake begins TLS with a mesh peer, whose certificate must be good for its name.
func meshHandshake(name string) (relay.Handshaker, error) {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	engine, err := tlsengine.NewClient(&tls.Config{ServerName: name,
		NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return engine.New(nil, nil), nil
}
