package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a cgroup whose processes share a part of a processor.
type Group struct{ dir, parent string }

// hierarchy is where groups for processor time can be made.
type hierarchy struct {
	dir string
	v2  bool
}

// Throttle makes a group that may use a share, above 0, of one processor: 0.25 is a quarter. It
// needs a cgroup hierarchy with the cpu controller, of version 1 or 2, that may be written.
func Throttle(share float64) (*Group, error) {
	quota := time.Duration(share * float64(throttlePeriod))
	if quota < quotaMin {
		return nil, fmt.Errorf("probe: a share of %v is below %v, the least that the kernel grants",
			share, float64(quotaMin)/float64(throttlePeriod))
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, unavailable("%w", err)
	}
	h, err := findHierarchy(b)
	if err != nil {
		return nil, err
	}
	g := &Group{parent: h.dir, dir: filepath.Join(h.dir, fmt.Sprintf("bench-%d", os.Getpid()))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, unavailable("make a cgroup: %w", err)
	}
	us := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	if h.v2 {
		err = g.write("cpu.max", us(quota)+" "+us(throttlePeriod))
	} else {
		err = errors.Join(g.write("cpu.cfs_period_us", us(throttlePeriod)),
			g.write("cpu.cfs_quota_us", us(quota)))
	}
	if err != nil {
		g.Close()
		return nil, unavailable("hold a cgroup to a share: %w", err)
	}
	return g, nil
}

func (g *Group) write(file, value string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0o644)
}

// Add moves a process with all its threads into the group.
func (g *Group) Add(pid int) error {
	if err := g.write("cgroup.procs", strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("probe: hold process %d to a share of a processor: %w", pid, err)
	}
	return nil
}

// Close lets its processes go free and removes the group.
func (g *Group) Close() {
	if b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs")); err == nil {
		for _, pid := range strings.Fields(string(b)) {
			// It may have ended in between.
			_ = os.WriteFile(filepath.Join(g.parent, "cgroup.procs"), []byte(pid), 0o644)
		}
	}
	for range rmdirTries {
		if err := os.Remove(g.dir); !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(rmdirWait)
	}
}

// findHierarchy reads lines of /proc/self/mountinfo: "… mount-point options - type source
// super-options", proc(5).
func findHierarchy(mountinfo []byte) (hierarchy, error) {
	var v2 string
	for line := range strings.Lines(string(mountinfo)) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch {
		case r[0] == "cgroup" && slices.Contains(strings.Split(r[2], ","), "cpu"):
			return hierarchy{dir: l[4]}, nil
		case r[0] == "cgroup2" && v2 == "":
			v2 = l[4]
		}
	}
	if v2 == "" {
		return hierarchy{}, unavailable("no cgroup hierarchy is mounted")
	}
	b, err := os.ReadFile(filepath.Join(v2, "cgroup.subtree_control"))
	if err != nil || !slices.Contains(strings.Fields(string(b)), "cpu") {
		return hierarchy{}, unavailable("the cgroups at %s do not have the cpu controller "+
			"(cgroup.subtree_control says %q)", v2, strings.TrimSpace(string(b)))
	}
	return hierarchy{dir: v2, v2: true}, nil
}
