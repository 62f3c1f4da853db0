package bench

import (
	"slices"

	"derpd/loadgen/units"
)

// Class says how exact a measure is, and so how much of a change means something.
type Class string

// The classes, the exact ones first.
const (
	Counted    Class = "counted"    // does not depend on the speed of the machine
	Batching   Class = "batching"   // counted, but depends on how many packets come together
	Memory     Class = "memory"     // depends on the allocator's mood
	Loss       Class = "loss"       // shares of what was due, next to nothing on any machine
	Timing     Class = "timing"     // processor time
	Throughput Class = "throughput" // how much is got through
	Latency    Class = "latency"    // the median
	Tail       Class = "tail"       // rare latencies
	Detail     Class = "detail"     // part of another measure: shown, not judged
)

// Measure is one kind of figure.
type Measure struct {
	Name   string // of a figure in reports, unique
	Unit   string // as Go's benchmark format has it
	Class  Class
	Higher bool // is better
	Text   string
	Format func(v float64) string // with a unit that people read
}

// The names of measures.
const (
	CPU           = "cpu"
	CPUUser       = "cpu-user"
	CPUSystem     = "cpu-system"
	Delivered     = "delivered"
	Lost          = "lost"
	Goodput       = "goodput"
	P50           = "p50"
	P99           = "p99"
	P999          = "p99.9"
	Syscalls      = "syscalls"
	Batched       = "batched-syscalls"
	Allocs        = "allocs"
	CrossLoop     = "cross-loop"
	Wakeups       = "wakeups"
	Posts         = "posts"
	IdleMemory    = "idle-memory"
	IdleKernel    = "idle-kernel"
	ActiveMemory  = "active-memory"
	ActiveKernel  = "active-kernel"
	Logins        = "logins"
	LoginCPU      = "login-cpu"
	Readmit       = "readmit"
	OthersP95     = "others-p95"
	Others        = "others-p99"
	Answers       = "answers"
	AnswerCPU     = "answer-cpu"
	Growth        = "growth"
	GeneratorIdle = "generator-idle"
)

// Measures lists all, in the order in which reports show them.
var Measures = []Measure{
	{CPU, "cpu-us/packet", Timing, false, "processor time of the relay a delivered packet", micros},
	{CPUUser, "user-us/packet", Detail, false, "of this in the program, where samples tell it", micros},
	{CPUSystem, "sys-us/packet", Detail, false, "of this in the kernel, where samples tell it", micros},
	{Delivered, "packets/s", Throughput, true, "packets delivered a second", perSecond},
	{Lost, "lost", Loss, false, "share of the packets due that never came, at a rate that is kept",
		units.Percent},
	{Goodput, "of-knee", Throughput, true, "delivered, as a share of the knee", units.Percent},
	{P50, "p50-us", Latency, false, "median latency from when a packet or request was due", micros},
	{P99, "p99-us", Tail, false, "latency that 99 of 100 packets or requests keep", micros},
	{P999, "p99.9-us", Tail, false, "latency that 999 of 1000 packets keep", micros},
	{Syscalls, "syscalls/packet", Counted, false, "system calls of the relay for a packet that " +
		"comes alone, without those of the Go runtime for its threads and its clock", few},
	{Batched, "batched-syscalls/packet", Batching, false, "system calls of the relay a packet " +
		"where packets come together", few},
	{Allocs, "allocs/packet", Counted, false, "heap allocations of the relay a packet", few},
	{CrossLoop, "cross-loop", Detail, false,
		"share of packets that go from one loop of the relay to another", units.Percent},
	{Wakeups, "wakeups/packet", Detail, false,
		"system calls by which a loop of the relay is woken, a packet", few},
	{Posts, "posts/packet", Detail, false,
		"functions that a loop of the relay is given to run, a packet", few},
	{IdleMemory, "idle-B/client", Memory, false, "resident memory a silent client", units.Bytes},
	{IdleKernel, "idle-kernel-B/client", Detail, false,
		"kernel memory a silent client, both ends of its connection", units.Bytes},
	{ActiveMemory, "active-B/client", Memory, false, "resident memory a client after traffic",
		units.Bytes},
	{ActiveKernel, "active-kernel-B/client", Detail, false,
		"kernel memory a client after traffic, both ends of its connection", units.Bytes},
	{Logins, "logins/s", Throughput, true, "logins a second", perSecond},
	{LoginCPU, "cpu-us/login", Timing, false, "processor time of the relay a login", micros},
	{Readmit, "readmit-s", Timing, false, "time until all that were cut are back", seconds},
	{OthersP95, "others-p95-us", Tail, false, "p95 of those that are not the trouble", micros},
	{Others, "others-p99-us", Tail, false, "p99 of those that are not the trouble", micros},
	{Answers, "answers/s", Throughput, true, "STUN answers a second", perSecond},
	{AnswerCPU, "cpu-us/answer", Timing, false, "processor time of the relay a STUN answer", micros},
	{Growth, "growth", Timing, false,
		"processor time a packet with many clients, by that with 100", times},
	{GeneratorIdle, "generator-idle", Detail, true,
		"share of the time in which the generator had nothing to do", units.Percent},
}

// Find returns the measure of a name.
func Find(name string) (*Measure, bool) {
	i := slices.IndexFunc(Measures, func(m Measure) bool { return m.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Measures[i], true
}

func micros(v float64) string    { return units.Nanos(v * 1e3) }
func seconds(v float64) string   { return units.Nanos(v * 1e9) }
func perSecond(v float64) string { return units.SI(v) + "/s" }
func few(v float64) string       { return units.Digits(v, 3) }
func times(v float64) string     { return units.Digits(v, 3) + "×" }
