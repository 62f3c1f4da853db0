// Package host reads facts of this machine and of processes on it, from /proc and from system
// calls: what a relay uses (Gauge), which process listens (Listeners), what else the machine does
// meanwhile (Use), and what it is and allows (Machine). It also binds threads to processors (OnCPU,
// AvoidCPU).
//
// It knows Linux and nothing of DERP, clients or rates. It owns nothing: no goroutine, no file
// stays open, and all functions may be called from anywhere, but for OnCPU and AvoidCPU, which act
// on the calling thread and the calling process.
//
// The tables of /proc are parsed here and not by a library, because two of them have to be read
// with care: a machine with 100,000 sockets has tens of megabytes of /proc/net/tcp, of which only
// the beginning matters, and resident memory must include hugetlbfs, which the kernel does not
// count.
package host
