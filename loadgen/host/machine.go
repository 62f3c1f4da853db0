package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a report says of where it was made.
type Machine struct {
	CPU       string `json:"cpu"`    // model
	CPUs      int    `json:"cpus"`   // processors that are up
	Arch      string `json:"arch"`   // as Go names it
	Kernel    string `json:"kernel"` // release
	Memory    int64  `json:"memory_bytes"`
	Available int64  `json:"available_bytes"` // when it was read
	Limits    Limits `json:"limits"`
	// Fingerprint is equal for two machines that can be compared: processor, count, memory in GiB
	// and kernel version without its build.
	Fingerprint string `json:"fingerprint"`
}

// ReadMachine reads what this machine is and allows.
func ReadMachine() (m Machine, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("host: uname: %w", err)
	}
	m.Arch, m.Kernel = runtime.GOARCH, unix.ByteSliceToString(u.Release[:])
	cpus, err1 := os.ReadFile("/proc/cpuinfo")
	memory, err2 := os.ReadFile("/proc/meminfo")
	if err := errors.Join(err1, err2); err != nil {
		return m, err
	}
	var model string
	m.CPU, model, m.CPUs = parseCPUs(cpus)
	m.Memory, err1 = kilobytes(memory, "MemTotal:")
	m.Available, err2 = kilobytes(memory, "MemAvailable:")
	limits, err3 := readLimits()
	m.Limits = limits
	m.Fingerprint = fingerprint(&m, model)
	return m, errors.Join(err1, err2, err3)
}

// parseCPUs reads /proc/cpuinfo: the first processor's name, what tells its model apart, and how
// many there are. Virtual machines often have only a vague name; ARM has numbers only.
func parseCPUs(b []byte) (name, model string, count int) {
	first := map[string]string{}
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(string(line), ":")
		key, value = strings.TrimSpace(key), strings.Join(strings.Fields(value), " ")
		if key == "processor" {
			count++
		}
		if _, seen := first[key]; !seen {
			first[key] = value
		}
	}
	var numbers []string
	for _, key := range []string{"cpu family", "model", "stepping", "CPU implementer", "CPU part",
		"CPU variant", "CPU revision"} {
		if first[key] != "" {
			numbers = append(numbers, first[key])
		}
	}
	model = strings.Join(numbers, "-")
	if name = first["model name"]; name == "" {
		name = strings.TrimSpace(first["CPU implementer"] + " " + first["CPU part"])
	}
	return name, model, max(count, 1)
}

func fingerprint(m *Machine, model string) string {
	version, _, _ := strings.Cut(m.Kernel, "-")
	gib := (m.Memory + fingerprintMemoryUnit/2) / fingerprintMemoryUnit
	return fmt.Sprintf("%s, %d × %s (%s), %d GiB, Linux %s",
		m.Arch, m.CPUs, m.CPU, model, gib, version)
}
