package faults

import (
	"syscall"
	"unsafe"
)

// sysRenameat2 is the number of renameat2, which package syscall does not have.
const sysRenameat2 = 276

// skipCall makes the kernel skip the system call that the stopped thread is about to
// make.
func skipCall(thread int) error {
	const (
		setRegset  = 0x4205 // PTRACE_SETREGSET
		systemCall = 0x404  // NT_ARM_SYSTEM_CALL
	)
	none := int32(-1)
	iov := syscall.Iovec{Base: (*byte)(unsafe.Pointer(&none)), Len: uint64(unsafe.Sizeof(none))}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, setRegset, uintptr(thread), systemCall, uintptr(unsafe.Pointer(&iov)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// shortenCall changes the third argument of the call that the thread is about to make:
// the length of a write.
func shortenCall(thread int, n uint64) error {
	return setRegs(thread, func(r *syscall.PtraceRegs) { r.Regs[2] = n })
}

// answerCall changes the result of the call that the thread has just made.
func answerCall(thread int, errno syscall.Errno) error {
	return setRegs(thread, func(r *syscall.PtraceRegs) { r.Regs[0] = -uint64(errno) })
}

func setRegs(thread int, change func(r *syscall.PtraceRegs)) error {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(thread, &r); err != nil {
		return err
	}
	change(&r)
	return syscall.PtraceSetRegs(thread, &r)
}
