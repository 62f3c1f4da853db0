package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"derpd/relay"
	"derpd/relay/queue"
)

// announce prints one line of state and, for a demonstration or where a DERP map must pin the
// certificate, the region to paste.
func (s *server) announce() {
	variable, value := levelSetting()
	if better := betterBuild(variable, value, amd64Levels()); better != "" {
		s.log.Debug("this processor could run another build", "built", variable+"="+value,
			"could", better)
	}
	at := s.lns[0].Addr()
	what := "plain HTTP"
	if s.cfg.tls {
		what = "TLS (" + s.cfg.certMode + " certificate)"
	}
	stun := "no STUN"
	if s.stun != nil {
		stun = "STUN on " + s.stun.Addr().String()
	}
	fmt.Printf("derpd %s serves %s on %v, %s, %d %s loops, key %v\n", version(), what, at, stun,
		len(s.loops), s.engine, s.key.Public())
	if s.cfg.demo || s.pinned() {
		fmt.Println("region for a DERP map (tailnet policy or Headscale):")
		fmt.Println(s.region(at.Port()))
	}
}

// region renders this relay as a region of a DERP map. The fields are those of
// tailcfg.DERPRegion; 900 to 999 is the range for regions of one's own.
func (s *server) region(port uint16) string {
	type node struct {
		Name, HostName string
		RegionID       int
		CertName       string `json:",omitempty"`
		IPv4, IPv6     string `json:",omitempty"`
		STUNPort       int    `json:",omitempty"`
		DERPPort       int    `json:",omitempty"`
	}
	n := node{Name: "900a", RegionID: 900, HostName: s.cfg.hostname, DERPPort: int(port)}
	if s.store != nil {
		n.CertName = s.store.Pin()
	}
	if ip, err := netip.ParseAddr(s.cfg.hostname); err == nil {
		if ip.Is4() {
			n.IPv4 = ip.String()
		} else {
			n.IPv6 = ip.String()
		}
	}
	n.STUNPort = -1
	if s.stun != nil {
		n.STUNPort = int(s.stun.Addr().Port())
	}
	out, err := json.MarshalIndent(map[string]any{"900": map[string]any{
		"RegionID": 900, "RegionCode": "derpd", "RegionName": "derpd", "Nodes": []node{n},
	}}, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// printStatus prints a line at each interval: what is open, what moved, what was dropped.
func (s *server) printStatus(ctx context.Context) {
	tick := time.NewTicker(s.cfg.status)
	defer tick.Stop()
	before, at := s.relay.Snapshot(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			snap := s.relay.Snapshot()
			fmt.Println(statusLine(&before, &snap, now.Sub(at)))
			before, at = snap, now
		}
	}
}

// statusLine tells the difference of two snapshots.
func statusLine(a, b *relay.Snapshot, d time.Duration) string {
	per := func(n uint64) float64 { return float64(n) / d.Seconds() }
	packets := func(s *relay.Snapshot) uint64 {
		return s.PacketsReceived[queue.Data] + s.PacketsReceived[queue.Disco]
	}
	var drops []string
	for why := range b.Drops {
		n := uint64(0)
		for k := range b.Drops[why] {
			n += b.Drops[why][k].Frames - a.Drops[why][k].Frames
		}
		if n > 0 {
			drops = append(drops, fmt.Sprintf("%v %d", relay.DropReason(why), n))
		}
	}
	if drops == nil {
		drops = []string{"none"}
	}
	return fmt.Sprintf("connections %d clients %d | in %.0f packets/s %.2f MB/s | "+
		"out %.0f packets/s %.2f MB/s | drops: %s", b.Connections, b.Clients,
		per(packets(b)-packets(a)), per(b.BytesReceived-a.BytesReceived)/1e6,
		per(b.PacketsSent-a.PacketsSent), per(b.BytesSent-a.BytesSent)/1e6,
		strings.Join(drops, ", "))
}
