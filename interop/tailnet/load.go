package tailnet

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// iperfSum is one total of iperf3's JSON report.
type iperfSum struct {
	Bytes         float64 `json:"bytes"`
	BitsPerSecond float64 `json:"bits_per_second"`
	Retransmits   int     `json:"retransmits"`
	JitterMs      float64 `json:"jitter_ms"`
	LostPackets   int     `json:"lost_packets"`
	Packets       int     `json:"packets"`
	LostPercent   float64 `json:"lost_percent"`
}

// iperfReport is the part of iperf3's JSON report that is used here.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Sum             iperfSum `json:"sum"` // UDP
		SumReceived     iperfSum `json:"sum_received"`
		SumReceivedBack iperfSum `json:"sum_received_bidir_reverse"`
	} `json:"end"`
}

// StartIperf starts iperf3's server on a node.
func (w *World) StartIperf(n *Node) error {
	p, err := w.Start(n.Name, "iperf3 server", nil, "iperf3", "-s", "-B", n.IP, "--forceflush")
	if err != nil {
		return err
	}
	return await("iperf3's server", func() error {
		if !strings.Contains(p.Log.String(), "Server listening") {
			return fmt.Errorf("it says %q", p.Log.Tail())
		}
		return nil
	})
}

// Load is what one kind of traffic cost and carried.
type Load struct {
	Forward  float64       // Mbit/s received, a to b
	Back     float64       // Mbit/s received, b to a
	Lost     string        // UDP: how many of how many
	Drops    string        // the relay's drop counters that moved
	Relayed  float64       // GB (10^9 bytes of payload) that the relay sent
	CPU      time.Duration // the relay's
	CPUPerGB float64       // seconds
}

// TCPBothWays runs TCP in both directions at once.
func (r *Relay) TCPBothWays(from, to *Node) (Load, error) {
	return r.measure(from, to, func(l *Load, report iperfReport) {
		l.Forward = report.End.SumReceived.BitsPerSecond / 1e6
		l.Back = report.End.SumReceivedBack.BitsPerSecond / 1e6
	}, "--bidir")
}

// UDP runs UDP at a fixed rate.
func (r *Relay) UDP(from, to *Node) (Load, error) {
	return r.measure(from, to, func(l *Load, report iperfReport) {
		sum := report.End.Sum
		l.Forward = sum.BitsPerSecond * (1 - sum.LostPercent/100) / 1e6
		l.Lost = fmt.Sprintf("%d of %d (%.2f %%)", sum.LostPackets, sum.Packets, sum.LostPercent)
	}, "-u", "-b", strconv.Itoa(udpMbitPerSecond)+"M", "-l", strconv.Itoa(udpPayloadBytes))
}

// measure runs one iperf3 client and reads the relay's counters before and after.
func (r *Relay) measure(
	from, to *Node, take func(*Load, iperfReport), flags ...string,
) (Load, error) {
	var l Load
	before, err := r.Metrics()
	if err != nil {
		return l, err
	}
	cpuBefore, err := r.CPU()
	if err != nil {
		return l, err
	}
	report, err := iperf(from, to, flags...)
	if err != nil {
		return l, err
	}
	cpuAfter, err := r.CPU()
	if err != nil {
		return l, err
	}
	after, err := r.Metrics()
	if err != nil {
		return l, err
	}
	take(&l, report)
	l.CPU = cpuAfter - cpuBefore
	l.Relayed = (after.Sum("derp_bytes_sent") - before.Sum("derp_bytes_sent")) / 1e9
	l.Drops = drops(before, after)
	if l.Relayed <= 0 {
		return l, fmt.Errorf("the relay sent nothing: the load took another way (%+v)", l)
	}
	l.CPUPerGB = l.CPU.Seconds() / l.Relayed
	return l, nil
}

// iperf runs a client, again as long as the server is not done with the last one: behind a relay
// that drops much its goodbye comes late.
func iperf(from, to *Node, flags ...string) (iperfReport, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadWaitMax)
	defer cancel()
	for {
		report, err := iperfOnce(ctx, from, to, flags...)
		if !strings.Contains(report.Error, "server is busy") || ctx.Err() != nil {
			return report, err
		}
		time.Sleep(pollEvery)
	}
}

func iperfOnce(ctx context.Context, from, to *Node, flags ...string) (iperfReport, error) {
	var report iperfReport
	args := append([]string{"iperf3", "-c", to.IP, "-J",
		"-t", strconv.Itoa(int(loadTime / time.Second))}, flags...)
	out, err := Run(ctx, from.Name, nil, args...)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return report, fmt.Errorf("iperf3's report: %w\n%s", err, out)
	}
	if report.Error != "" {
		return report, fmt.Errorf("iperf3: %s", report.Error)
	}
	return report, nil
}
