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

// calls are the system calls at which processes are killed: all that change a file,
// and openat for writing.
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

// From linux/ptrace.h and linux/wait.h: package syscall does not have these.
const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
	syscallExit          = 2
	optTraceSysGood      = 0x1
	optTraceClone        = 0x8
	optExitKill          = 0x100000
	waitAll              = 0x40000000 // __WALL
	waitOwn              = 0x20000000 // __WNOTHREAD
	sysTrap              = syscall.SIGTRAP | 0x80
)

// tracer runs a process, counts the system calls of all its threads together, and
// kills it before one of them or makes one fail. (strace counts calls by thread, and
// a goroutine may run on any.)
type tracer struct {
	call uint64 // kill at this call, 0 for none
	at   int    // which of these calls, from 1
	fail *fault // makes a call fail, unless nil

	ended  chan struct{} // closed when the process is gone
	counts map[uint64]int
	killed bool
	status syscall.WaitStatus // how it ended; the tracer gets it instead of cmd.Wait
	err    error
}

// stop is the result of PTRACE_GET_SYSCALL_INFO for a thread that is stopped at a
// system call.
type stop struct {
	op     uint8 // syscallEntry, syscallExit
	_      [3]uint8
	arch   uint32
	ip, sp uint64
	nr     uint64 // at the entry, as args
	args   [6]uint64
	_      [2]uint64
}

// start starts cmd, which must not be started yet.
func (tr *tracer) start(cmd *exec.Cmd) error {
	tr.ended, tr.counts = make(chan struct{}), make(map[uint64]int)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	started := make(chan error)
	// Only the thread that starts the process can trace it.
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

// childless runs fn on a locked thread without children. A tracer waits for every child
// of its thread, and must not take the exit of a process that it does not trace.
func childless(fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", syscall.Gettid()))
	if err != nil || len(children) == 0 {
		fn()
		return
	}
	done := make(chan struct{})
	go func() { // on another thread, since this one has a child
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

// trace handles the stops of the process until it has ended.
func (tr *tracer) trace(pid int) error {
	if _, err := syscall.Wait4(pid, &tr.status, waitAll, nil); err != nil {
		return fmt.Errorf("wait for the traced process: %w", err)
	}
	if err := syscall.PtraceSetOptions(pid, optTraceSysGood|optTraceClone|optExitKill); err != nil {
		return fmt.Errorf("ptrace: %w", err)
	}
	for thread, signal := pid, 0; ; {
		// It is not an error if the thread has ended: it was killed with the rest.
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
				if err := tr.fail.stopped(pid, thread, at); err != nil && err != syscall.ESRCH {
					return fmt.Errorf("make a call fail: %w", err)
				}
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a thread begins
		default:
			signal = int(s)
		}
	}
}

// stoppedAt returns the system call at which the thread is stopped. ok is false if the
// thread has ended.
func stoppedAt(thread int) (at stop, ok bool) {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(thread), unsafe.Sizeof(at), uintptr(unsafe.Pointer(&at)), 0, 0)
	return at, errno == 0
}

// entered counts the call that a thread is about to make, if any, and reports whether
// to kill the process at it.
func (tr *tracer) entered(at stop) bool {
	const writes = syscall.O_WRONLY | syscall.O_RDWR | syscall.O_CREAT | syscall.O_TRUNC
	if at.op != syscallEntry || at.nr == syscall.SYS_OPENAT && at.args[2]&writes == 0 {
		return false // a kill here has the same effect as one at the next call
	}
	tr.counts[at.nr]++
	return at.nr == tr.call && tr.counts[at.nr] == tr.at
}

// needTrace skips the test if processes may not be traced.
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
