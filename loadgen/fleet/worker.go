package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"derpd/loadgen"
)

// worker is the parent's hold on one process. call and close belong to the fleet's user, the rest
// may be called by anyone.
type worker struct {
	name    string // for people: worker 2 of 5
	clients int
	cmd     *exec.Cmd
	in      io.WriteCloser
	log     tail
	waits   waits

	replies chan reply    // those that end a request
	gone    chan struct{} // closed when the process has ended and lost says why
	lost    error         // one sentence, with the end of the log
	heard   atomic.Int64  // when a message came last, by monotonic
	killed  atomic.Pointer[error]

	mu       sync.Mutex
	progress loadgen.Progress
}

// startWorker starts a process and a goroutine that hears it until it ends.
func startWorker(k *keeper, argv []string, name string, clients int, w waits) (*worker, error) {
	p := &worker{name: name, clients: clients, waits: w, replies: make(chan reply, 1),
		gone: make(chan struct{}), progress: loadgen.Progress{Wanted: clients}}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stderr = &p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%s has no standard input: %w", name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s has no standard output: %w", name, err)
	}
	p.in = in
	if err := k.start(p.cmd); err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	p.heard.Store(monotonic())
	go p.hear(out)
	return p, nil
}

// hear reads messages until the process ends, kills it if it breaks the protocol, and reaps it.
func (p *worker) hear(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		if err := p.take(lines.Bytes()); err != nil {
			p.kill(err)
			break
		}
	}
	if err := lines.Err(); err != nil {
		p.kill(fmt.Errorf("its standard output cannot be read: %w", err))
	}
	err := p.cmd.Wait()
	if why := p.killed.Load(); why != nil {
		err = fmt.Errorf("it was killed: %w", *why)
	} else if err == nil {
		err = errors.New("exit status 0")
	}
	p.lost = fmt.Errorf("%s is gone: %w", p.name, err)
	if said := p.log.String(); said != "" {
		p.lost = fmt.Errorf("%w; it said: %s", p.lost, said)
	}
	p.mu.Lock()
	p.progress = loadgen.Progress{Phase: loadgen.PhaseDone, Wanted: p.clients}
	p.progress.Failures.Add(loadgen.FailLocal, uint64(p.clients), p.lost.Error())
	p.mu.Unlock()
	close(p.gone)
}

func (p *worker) take(line []byte) error {
	r, err := decodeReply(line)
	if err != nil {
		return err
	}
	p.heard.Store(monotonic())
	if r.Progress != nil {
		p.mu.Lock()
		p.progress = *r.Progress
		p.mu.Unlock()
		return nil
	}
	select {
	case p.replies <- r:
		return nil
	default:
		return fmt.Errorf("%s is a reply to nothing", quote(line))
	}
}

// kill ends the process for a reason, the first one given.
func (p *worker) kill(why error) {
	p.killed.CompareAndSwap(nil, &why)
	// The error is that it has ended already, which is what is wanted.
	_ = p.cmd.Process.Kill()
}

func (p *worker) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// look is the last progress that came.
func (p *worker) look() loadgen.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.progress
}

// call sends a request and waits for its answer. When ctx ends it asks for what there is. The
// error is that the worker is gone, which it is made to be if it does not answer in time; what
// the worker answered is in the reply, its error too.
func (p *worker) call(ctx context.Context, r request) (reply, error) {
	if err := p.send(r); err != nil {
		return reply{}, err
	}
	silence := time.NewTicker(p.waits.silence / 4)
	defer silence.Stop()
	cancelled, patience := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case answer := <-p.replies:
			return p.check(answer, r)
		case <-p.gone:
			select {
			case answer := <-p.replies: // its last word
				return p.check(answer, r)
			default:
				return reply{}, p.lost
			}
		case <-silence.C:
			if quiet := time.Duration(monotonic() - p.heard.Load()); quiet > p.waits.silence {
				p.kill(fmt.Errorf("no word from it for %v", quiet.Round(time.Millisecond)))
			}
		case <-cancelled:
			cancelled = nil
			patience = time.After(p.waits.cancel)
			if err := p.write(request{Do: doCancel}); err != nil {
				p.kill(err)
			}
		case <-patience:
			p.kill(fmt.Errorf("no result within %v after the run was ended", p.waits.cancel))
		}
	}
}

// check takes an answer only to what was asked.
func (p *worker) check(answer reply, r request) (reply, error) {
	if answer.To == r.Do {
		return answer, nil
	}
	p.kill(fmt.Errorf("an answer to %q, not to %q", answer.To, r.Do))
	<-p.gone
	return reply{}, p.lost
}

// send starts the clock of silence and writes.
func (p *worker) send(r request) error {
	p.heard.Store(monotonic())
	err := p.write(r)
	if err == nil {
		return nil
	}
	select {
	case <-p.gone: // of itself, which is why it took nothing
	case <-time.After(deathMax):
		p.kill(err)
		<-p.gone
	}
	return p.lost
}

func (p *worker) write(r request) error {
	line, err := encode(r)
	if err == nil {
		_, err = p.in.Write(line)
	}
	if err != nil {
		return fmt.Errorf("it takes no request %q: %w", r.Do, err)
	}
	return nil
}

// close ends the process, in order if it can. The error is what its fleet said, or that it had to
// be killed; none for a worker that was gone before.
func (p *worker) close() error {
	if !p.alive() {
		return nil
	}
	kill := time.AfterFunc(p.waits.close, func() {
		p.kill(fmt.Errorf("it did not close within %v", p.waits.close))
	})
	defer kill.Stop()
	answer, err := p.call(context.Background(), request{Do: doClose})
	// Its standard input ends too, should it wait for more. The error is that Wait did it.
	_ = p.in.Close()
	<-p.gone
	if answer.Error != "" {
		err = errors.Join(err, fmt.Errorf("%s: %s", p.name, answer.Error))
	}
	return err
}

// oneLine keeps a failure's example in a line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }
