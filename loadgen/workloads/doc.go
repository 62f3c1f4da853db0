// Package workloads holds the named workloads: who is connected, who talks to whom, how much and in
// which packets, and where those numbers come from. It makes plain data (loadgen.Workload) of a few
// parameters and knows nothing of connections, clocks or relays.
package workloads
