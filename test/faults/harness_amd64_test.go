package faults

import "syscall"

// sysRenameat2 is the number of renameat2, which package syscall does not have.
const sysRenameat2 = 316

// skipCall makes the kernel skip the system call that the stopped thread is about to
// make.
func skipCall(thread int) error {
	return setRegs(thread, func(r *syscall.PtraceRegs) { r.Orig_rax = ^uint64(0) })
}

// shortenCall changes the third argument of the call that the thread is about to make:
// the length of a write.
func shortenCall(thread int, n uint64) error {
	return setRegs(thread, func(r *syscall.PtraceRegs) { r.Rdx = n })
}

// answerCall changes the result of the call that the thread has just made.
func answerCall(thread int, errno syscall.Errno) error {
	return setRegs(thread, func(r *syscall.PtraceRegs) { r.Rax = -uint64(errno) })
}

func setRegs(thread int, change func(r *syscall.PtraceRegs)) error {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(thread, &r); err != nil {
		return err
	}
	change(&r)
	return syscall.PtraceSetRegs(thread, &r)
}
