package faults

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// calls are the system calls at which processes are killed: all that change a
// file. Of openat it is those that open for writing.
var calls = map[string]uint64{
	"write":     syscall.SYS_WRITE,
	"pwrite64":  syscall.SYS_PWRITE64,
	"fdatasync": syscall.SYS_FDATASYNC,
	"fsync":     syscall.SYS_FSYNC,
	"openat":    syscall.SYS_OPENAT,
	"mkdirat":   syscall.SYS_MKDIRAT,
	"renameat":  syscall.SYS_RENAMEAT,
	"renameat2": sysRenameat2,
	"linkat":    syscall.SYS_LINKAT,
	"unlinkat":  syscall.SYS_UNLINKAT,
	"ftruncate": syscall.SYS_FTRUNCATE,
}

// Of linux/ptrace.h and linux/wait.h, where package syscall has no name.
const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
	syscallExit          = 2
	optTraceSysGood      = 0x1
	optTraceClone        = 0x8
	waitAll              = 0x40000000 // __WALL
	waitOwn              = 0x20000000 // __WNOTHREAD
	sysTrap              = syscall.SIGTRAP | 0x80
)

// tracer runs a process, counts its system calls, those of all its threads
// together, and kills it at one of them (the call is not made, and nothing is after
// it) or makes one fail. (strace counts for each thread, and a goroutine may run on
// any.)
type tracer struct {
	call uint64 // kill at this call, 0 for none
	at   int    // and at this one of them, from 1 on
	fail *fault // what else befalls its calls, if anything does

	ended  chan struct{} // closed when the process is gone
	counts map[uint64]int
	killed bool
	status syscall.WaitStatus // how it ended; the tracer takes that from cmd.Wait
	err    error
}

// stop is what PTRACE_GET_SYSCALL_INFO says of a thread that has stopped at a system
// call.
type stop struct {
	op     uint8 // syscallEntry, syscallExit
	_      [3]uint8
	arch   uint32
	ip, sp uint64
	nr     uint64 // at the entry, as args
	args   [6]uint64
	_      [2]uint64
}

// start starts cmd, which must not have been started.
func (tr *tracer) start(cmd *exec.Cmd) error {
	tr.ended, tr.counts = make(chan struct{}), make(map[uint64]int)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	started := make(chan error)
	// The thread that starts it is the one that traces it.
	go childless(func() {
		defer close(tr.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			tr.err = tr.trace(cmd.Process.Pid)
		}
	})
	return <-started
}

// childless runs fn on a thread of its own that no other process is a child of: who
// traces takes the ends of all children of its thread.
func childless(fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", syscall.Gettid()))
	if err != nil || len(children) == 0 {
		fn()
		return
	}
	done := make(chan struct{})
	go func() { // on another thread, since this one is taken
		defer close(done)
		childless(fn)
	}()
	<-done
}

// wait waits until the process is gone, and returns the number of its calls.
func (tr *tracer) wait(t testing.TB) map[uint64]int {
	t.Helper()
	<-tr.ended
	if tr.err != nil {
		t.Fatal(tr.err)
	}
	return tr.counts
}

// trace goes from stop to stop until the process is gone.
func (tr *tracer) trace(pid int) error {
	if _, err := syscall.Wait4(pid, &tr.status, waitAll, nil); err != nil {
		return fmt.Errorf("wait for the traced process: %w", err)
	}
	if err := syscall.PtraceSetOptions(pid, optTraceSysGood|optTraceClone); err != nil {
		return fmt.Errorf("ptrace: %w", err)
	}
	for thread, signal := pid, 0; ; {
		// A thread that has gone meanwhile is no error: it was killed with the rest.
		if err := syscall.PtraceSyscall(thread, signal); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("ptrace: %w", err)
		}
		var status syscall.WaitStatus
		for !status.Stopped() {
			var err error
			if thread, err = syscall.Wait4(-1, &status, waitAll|waitOwn, nil); err == syscall.EINTR {
				continue
			} else if err != nil {
				return fmt.Errorf("wait for the traced process: %w", err)
			}
			if thread == pid && !status.Stopped() {
				tr.status = status
				return nil
			}
		}
		signal = 0
		switch s := status.StopSignal(); s {
		case sysTrap:
			at, ok := stoppedAt(thread)
			if !ok {
				break // it was killed meanwhile
			}
			if tr.entered(at) {
				tr.killed = true
				syscall.Kill(pid, syscall.SIGKILL)
			} else if tr.fail != nil {
				if err := tr.fail.meet(pid, thread, at); err != nil && err != syscall.ESRCH {
					return fmt.Errorf("make a call fail: %w", err)
				}
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a thread begins
		default:
			signal = int(s)
		}
	}
}

// stoppedAt says at which system call the thread has stopped; ok is false if the
// thread is gone.
func stoppedAt(thread int) (at stop, ok bool) {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(thread), unsafe.Sizeof(at), uintptr(unsafe.Pointer(&at)), 0, 0)
	return at, errno == 0
}

// entered counts the call that a thread is about to make, if it is at one, and
// reports whether that is the one to kill at.
func (tr *tracer) entered(at stop) bool {
	const writes = syscall.O_WRONLY | syscall.O_RDWR | syscall.O_CREAT | syscall.O_TRUNC
	if at.op != syscallEntry || at.nr == syscall.SYS_OPENAT && at.args[2]&writes == 0 {
		return false // being killed here leaves what being killed at the next call leaves
	}
	tr.counts[at.nr]++
	return at.nr == tr.call && tr.counts[at.nr] == tr.at
}

// needTrace skips where processes may not be traced.
func needTrace(t testing.TB) {
	t.Helper()
	tr := &tracer{}
	cmd := exec.Command("true")
	if err := tr.start(cmd); err != nil {
		t.Skipf("needs to trace processes: %v", err)
	}
	<-tr.ended
	cmd.Wait()
	if tr.err != nil || len(tr.counts) == 0 {
		t.Skipf("needs to trace processes, with Linux 5.3 or later: %v", tr.err)
	}
}
