package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sampler looks at fixed intervals whether a process is in its program or in the kernel.
//
// The kernel's own split of a process's time is made of what a processor did at each tick of 4 ms.
// A relay that sleeps and wakes by the clock is in step with those, and is seen in one place only.
type Sampler struct {
	pid   int
	rings []ring
}

// ring is where the kernel writes the samples of one processor.
type ring struct {
	fd  int
	mem []byte
}

// Samples makes a sampler, which does not look yet. It looks at the processors that the process is
// bound to, not at its threads, whose switches would cost more then. It needs root or CAP_PERFMON.
func Samples(pid int) (*Sampler, error) {
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &cpus); err != nil {
		return nil, fmt.Errorf("probe: processors of process %d: %w", pid, err)
	}
	s := &Sampler{pid: pid}
	for cpu, left := 0, cpus.Count(); left > 0; cpu++ {
		if !cpus.IsSet(cpu) {
			continue
		}
		left--
		if err := s.open(cpu); err != nil {
			s.Close()
			return nil, unavailable("samples of processor %d by perf_event_open: %w", cpu, err)
		}
	}
	return s, nil
}

func (s *Sampler) open(cpu int) error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Size:   uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: uint64(time.Second / samplesPerSecond), Sample_type: unix.PERF_SAMPLE_TID,
		Bits: unix.PerfBitDisabled | unix.PerfBitExcludeIdle}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(fd, 0, os.Getpagesize()+sampleBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED)
	if err != nil {
		_ = unix.Close(fd) // holds nothing
		return err
	}
	s.rings = append(s.rings, ring{fd, mem})
	return nil
}

// Start begins to look.
func (s *Sampler) Start() error {
	for i := range s.rings {
		s.rings[i].drain(func([]byte) {})
	}
	return s.switchAll(unix.PERF_EVENT_IOC_ENABLE)
}

// Stop ends that, and returns how often the process was in its program and in the kernel.
func (s *Sampler) Stop() (user, system int, err error) {
	if err := s.switchAll(unix.PERF_EVENT_IOC_DISABLE); err != nil {
		return 0, 0, err
	}
	for i := range s.rings {
		s.rings[i].drain(func(record []byte) {
			switch mode(record, s.pid) {
			case unix.PERF_RECORD_MISC_USER:
				user++
			case unix.PERF_RECORD_MISC_KERNEL:
				system++
			}
		})
	}
	return user, system, nil
}

func (s *Sampler) switchAll(request uint) error {
	var errs []error
	for _, r := range s.rings {
		errs = append(errs, unix.IoctlSetInt(r.fd, request, 0))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("probe: switch samples: %w", err)
	}
	return nil
}

// Close forgets everything.
func (s *Sampler) Close() {
	for _, r := range s.rings {
		_ = unix.Munmap(r.mem) // is one
		_ = unix.Close(r.fd)   // holds nothing
	}
	s.rings = nil
}

// recordHead is what every record begins with: its type, its mode, and its size with this.
const recordHead = 8

// mode is where a process was as a record says; 0 if the record is of another process or no sample.
func mode(record []byte, pid int) uint16 {
	if len(record) < recordHead+4 || le.Uint32(record) != unix.PERF_RECORD_SAMPLE ||
		le.Uint32(record[recordHead:]) != uint32(pid) {
		return 0
	}
	return le.Uint16(record[4:]) & unix.PERF_RECORD_MISC_CPUMODE_MASK
}

var le = binary.NativeEndian

// drain takes all records. The kernel adds them behind a first page, which says from where to where
// they reach; when there is no space, it forgets the later ones.
func (r *ring) drain(each func(record []byte)) {
	page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.mem[0]))
	data := r.mem[len(r.mem)-sampleBytes:]
	head := atomic.LoadUint64(&page.Data_head)
	for tail := page.Data_tail; tail < head; {
		var record [64]byte
		for i := range record { // it may go on at the beginning
			record[i] = data[(tail+uint64(i))%uint64(len(data))]
		}
		size := uint64(le.Uint16(record[6:]))
		if size < recordHead { // there is none so short
			break
		}
		each(record[:min(size, uint64(len(record)))])
		tail += size
	}
	atomic.StoreUint64(&page.Data_tail, head)
}
