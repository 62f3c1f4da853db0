package httpd

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

var started = time.Now()

// sysAtStart is what Go had from the system before any client came.
var sysAtStart = func() uint64 {
	v, _ := readRuntime([]string{"/memory/classes/total:bytes"})
	n, _ := v["/memory/classes/total:bytes"].(uint64)
	return n
}()

// mutexWaitName is the one of the process's numbers that derper's JSON has too.
const mutexWaitName = "go_sync_mutex_wait_seconds"

// number is a metric of the process: no counter of the relay, so not a whole number.
type number struct {
	name, help string
	gauge      bool
	value      float64
}

// processNumbers are derper's metrics of the process. None stops the world to be read, which
// would be a pause of every loop.
func processNumbers() []number {
	v, _ := readRuntime([]string{"/memory/classes/heap/objects:bytes",
		"/memory/classes/total:bytes", "/gc/heap/*", "/gc/cycles/total:gc-cycles",
		"/cpu/classes/gc/*", "/cpu/classes/total:cpu-seconds", "/sync/mutex/wait/total:seconds"})
	of := func(name string) float64 {
		switch n := v[name].(type) {
		case uint64:
			return float64(n)
		case float64:
			return n
		}
		return 0
	}
	tiny := of("/gc/heap/tiny/allocs:objects") // are in neither of the next two
	idle := of("/cpu/classes/gc/mark/idle:cpu-seconds")
	share := 0.0
	if total := of("/cpu/classes/total:cpu-seconds"); total > 0 { // is 0 before the first cycle
		share = (of("/cpu/classes/gc/total:cpu-seconds") - idle) / total
	}
	all := []number{
		{"process_start_unix_time", "When the process started, in seconds since 1970.", true,
			float64(started.Unix())},
		{"uptime_sec", "Seconds since the process started.", false,
			time.Since(started).Seconds()},
		{"goroutines", "Goroutines that exist.", true, float64(runtime.NumGoroutine())},
		{"memstats_heap_alloc", "Bytes of heap objects, dead ones included.", true,
			of("/memory/classes/heap/objects:bytes")},
		{"memstats_total_alloc", "Bytes ever allocated for heap objects.", false,
			of("/gc/heap/allocs:bytes")},
		{"memstats_sys", "Bytes that Go has from the system.", true,
			of("/memory/classes/total:bytes")},
		{"memstats_mallocs", "Heap objects ever allocated.", false,
			of("/gc/heap/allocs:objects") + tiny},
		{"memstats_frees", "Heap objects ever freed.", false,
			of("/gc/heap/frees:objects") + tiny},
		{"memstats_num_gc", "Cycles of garbage collection done.", false,
			of("/gc/cycles/total:gc-cycles")},
		{"memstats_gc_cpu_fraction", "Share of CPU time that went into garbage collection.", true,
			share},
		{mutexWaitName, "Seconds that goroutines have waited for locks.", false,
			of("/sync/mutex/wait/total:seconds")},
	}
	if levels, ok := amd64Levels(); ok {
		all = append(all,
			number{"goamd64_capable", "The highest GOAMD64 that this processor can run.", true,
				float64(levels[0])},
			number{"goamd64_compiled", "The GOAMD64 that this program was built for.", true,
				float64(levels[1])})
	}
	if boot := bootTime(); boot > 0 {
		all = append(all, number{"node_boot_time_seconds",
			"When the machine started, in seconds since 1970.", true, float64(boot)})
	}
	return all
}

// bootTime is when the machine started (proc(5), btime); 0 if the kernel does not tell.
var bootTime = sync.OnceValue(func() int64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(stat)) {
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
})
