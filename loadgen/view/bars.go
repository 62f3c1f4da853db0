package view

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/cupwriter"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// bars is a viewer for terminals: one bar at a time, with the figures in the line below it.
type bars struct {
	all *mpb.Progress
	bar *mpb.Bar // of this phase; nil: it has none
	now *texts   // of that bar
}

// texts are what the goroutine of the bars reads when it draws one.
type texts struct {
	sync.Mutex
	clock, line string
}

func (t *texts) set(s *status, p *loadgen.Progress) {
	t.Lock()
	defer t.Unlock()
	t.clock, t.line = clock(p), s.line(p)
}

func (t *texts) get() (clock, line string) {
	t.Lock()
	defer t.Unlock()
	return t.clock, t.line
}

func newBars(out io.Writer) *bars {
	w := cupwriter.New(fromFirstColumn{out}, false)
	if f, ok := out.(*os.File); ok {
		w.SetTermFd(int(f.Fd())) // its size
	}
	return &bars{all: mpb.New(mpb.WithConsoleWriter(w), mpb.WithAutoRefresh(),
		mpb.WithRefreshRate(barsEvery), mpb.PopCompletedMode())}
}

// fromFirstColumn begins each drawing in the first column. The cursor is there, unless somebody has
// typed: Ctrl-C leaves ^C behind.
type fromFirstColumn struct{ out io.Writer }

// Write implements io.Writer.
func (w fromFirstColumn) Write(b []byte) (int, error) {
	n, err := w.out.Write(append([]byte{'\r'}, b...))
	return max(n-1, 0), err
}

// scaled is the length of a bar and how far it is: clients in a ramp, else time.
func scaled(p *loadgen.Progress) (current, total int64) {
	if p.Phase == loadgen.PhaseRamp {
		return int64(p.Clients), int64(p.Wanted)
	}
	return int64(p.Since), int64(p.Planned)
}

func (b *bars) show(_ time.Time, s *status, p *loadgen.Progress) {
	if p.Phase == loadgen.PhaseReady || p.Phase == "" {
		return
	}
	current, total := scaled(p)
	if b.bar == nil {
		b.now = &texts{}
		b.now.set(s, p)
		b.bar = b.begin(p.Phase, total, b.now)
	}
	b.now.set(s, p)
	if total > 0 {
		// A full bar would end by itself; the phase says when it does.
		b.bar.SetCurrent(max(min(current, total-1), 0))
	}
}

// begin adds the bar of a phase. Its texts are its own: it is drawn once more after it has ended,
// when the next one may have begun.
func (b *bars) begin(phase loadgen.Phase, total int64, now *texts) *mpb.Bar {
	var style mpb.BarFillerBuilder = mpb.BarStyle()
	if total <= 0 {
		style = mpb.NopStyle() // it is done when it is done
	}
	figures := mpb.BarFillerFunc(func(w io.Writer, stat decor.Statistics) error {
		_, line := now.get()
		_, err := fmt.Fprintln(w, units.Fit("       "+line, stat.AvailableWidth-1))
		return err
	})
	return b.all.New(total, style,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%-6s", phase))),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			clock, _ := now.get()
			return clock
		})),
		mpb.BarExtender(figures, false),
		// A warm-up that is over is of no interest: it is removed, and not left above.
		mpb.BarOptional(mpb.BarRemoveOnComplete(), phase == loadgen.PhaseWarm),
		mpb.BarOptional(mpb.BarNoPop(), phase == loadgen.PhaseWarm))
}

func (b *bars) end(s *status, p loadgen.Progress) {
	if b.bar == nil {
		return
	}
	b.now.set(s, &p)
	b.bar.SetTotal(-1, true)
	b.bar.Wait()
	b.bar = nil
}

// close leaves a bar that has not ended where it is.
func (b *bars) close() {
	if b.bar != nil {
		b.bar.Abort(false)
	}
	b.all.Wait()
}
