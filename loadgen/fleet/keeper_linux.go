package fleet

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// keeper starts processes that die with this one. The kernel sends the signal when the thread ends
// that started the child, not the process: so all are started by one locked thread, which stays
// until the keeper is closed.
type keeper struct {
	starts chan func()
	end    sync.Once
}

func newKeeper() *keeper {
	k := &keeper{starts: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for start := range k.starts {
			start()
		}
	}()
	return k
}

// start starts cmd in a process group of its own: a Ctrl-C in the terminal is for the parent,
// which then asks the workers for what they have.
func (k *keeper) start(cmd *exec.Cmd) (err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done := make(chan struct{})
	k.starts <- func() {
		err = cmd.Start()
		close(done)
	}
	<-done
	return err
}

// close may be called when all processes have ended.
func (k *keeper) close() { k.end.Do(func() { close(k.starts) }) }
