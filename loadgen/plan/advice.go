package plan

import (
	"fmt"
	"math"
	"math/bits"
	"os"
)

// advise compares what a planned host will need with what this machine allows, and returns only
// what has to change.
func advise(res *Result) (all []Advice) {
	add := func(line, why string, args ...any) {
		all = append(all, Advice{line, fmt.Sprintf(why, args...)})
	}
	l, h := &res.Machine.Limits, &res.Hosts
	if h.Clients > 0 {
		clients, why := h.Clients, ""
		if fewer := withoutFiles(h); h.Binding == Descriptors && fewer > 0 && fewer < h.Count {
			clients = int(math.Ceil(float64(res.Goal.Clients) / float64(fewer)))
			why = fmt.Sprintf("; then %d instead of %d hosts would do", fewer, h.Count)
		}
		adviseFiles(res, clients, why, add)
		adviseBacklog(res, add)
		adviseTCP(res, add)
		if n := roomFor(float64(h.Clients)); l.ConntrackMax > 0 && n > l.ConntrackMax {
			add(fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", n), "connections are "+
				"tracked, and with %d clients the table of %d would be full: new ones are dropped",
				h.Clients, l.ConntrackMax)
		}
	}
	if n := l.Ports[1] - l.Ports[0]; n > 0 && n < portsMin {
		add("sysctl -w net.ipv4.ip_local_port_range=\"15000 64999\"", "for the generator: %d ports "+
			"are too few for 10,000 connections of one source address", n)
	}
	return all
}

// roomFor adds head-room to a count.
func roomFor(n float64) int64 { return int64(math.Ceil(n*headroom)) + descriptorsExtra }

// withoutFiles is how many hosts would do if descriptors did not bind.
func withoutFiles(h *Hosts) (count int) {
	for _, n := range h.Needs {
		if n.Constraint != Descriptors {
			count = max(count, n.Hosts)
		}
	}
	return count
}

func adviseFiles(res *Result, clients int, more string, add func(string, string, ...any)) {
	m, l := res.Memory, &res.Machine.Limits
	if m == nil {
		return
	}
	need := roomFor(float64(clients) * m.FilesClient)
	if m.FilesClient >= 0.01 && need > m.FilesMax {
		if l.NROpen > 0 && need > l.NROpen {
			add(fmt.Sprintf("sysctl -w fs.nr_open=%d", need),
				"no process may have more open files than %d", l.NROpen)
		}
		add(fmt.Sprintf("LimitNOFILE=%d", need), "in the relay's service (ulimit -n elsewhere): "+
			"%d clients need %.0f open files, its limit is %d%s", clients,
			float64(clients)*m.FilesClient, m.FilesMax, more)
	}
	// Direct descriptors of io_uring are files of the machine as well.
	if all := roomFor(float64(clients) * max(m.FilesClient, 1)); l.FileMax > 0 && all > l.FileMax {
		add(fmt.Sprintf("sysctl -w fs.file-max=%d", all), "all processes together may have %d "+
			"open files", l.FileMax)
	}
}

// adviseBacklog sizes the queues of connections that wait to be accepted after a cut.
func adviseBacklog(res *Result, add func(string, string, ...any)) {
	l, rate := &res.Machine.Limits, res.Logins.Planned
	wait := min(float64(res.Hosts.Clients), rate*loginWaitSeconds, backlogMax)
	need := int64(1) << bits.Len64(uint64(max(wait, backlogMin)-1))
	need = min(need, backlogMax)
	why := "when all %d clients come back at once, %.0f/s get in; who waits in vain tries again " +
		"a second later at best (it is %d)"
	if l.SomaxConn > 0 && l.SomaxConn < need {
		add(fmt.Sprintf("sysctl -w net.core.somaxconn=%d", need), why, res.Hosts.Clients, rate,
			l.SomaxConn)
	}
	if l.SYNBacklog > 0 && l.SYNBacklog < need {
		add(fmt.Sprintf("sysctl -w net.ipv4.tcp_max_syn_backlog=%d", need), why, res.Hosts.Clients,
			rate, l.SYNBacklog)
	}
}

// adviseTCP compares the buffers of the planned clients and load with the mark above which the
// kernel shrinks windows.
func adviseTCP(res *Result, add func(string, string, ...any)) {
	mem, page := res.Machine.Limits.TCPMem, float64(os.Getpagesize())
	if res.Memory == nil || mem[1] == 0 || res.Memory.tcpClient == 0 {
		return
	}
	pages := res.Memory.tcpClient * float64(res.Hosts.Clients) / page
	if pages <= tcpMemShare*float64(mem[1]) {
		return
	}
	factor := pages / (tcpMemShare * float64(mem[1]))
	add(fmt.Sprintf("sysctl -w net.ipv4.tcp_mem=\"%.0f %.0f %.0f\"", factor*float64(mem[0]),
		factor*float64(mem[1]), factor*float64(mem[2])),
		"TCP buffers of %d clients take %s by what was seen under load; from %s on the kernel "+
			"shrinks windows", res.Hosts.Clients, size(int64(pages*page)),
		size(mem[1]*int64(page)))
}
