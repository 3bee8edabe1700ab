package faults

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// kinds groups the system calls by their effect on a store.
var kinds = map[uint64]string{
	syscall.SYS_WRITE:     "write",
	syscall.SYS_PWRITE64:  "write",
	syscall.SYS_FSYNC:     "sync",
	syscall.SYS_FDATASYNC: "sync",
	unix.SYS_SYNCFS:       "sync",
	syscall.SYS_OPENAT:    "open",
	syscall.SYS_RENAMEAT:  "rename",
	sysRenameat2:          "rename",
	syscall.SYS_LINKAT:    "rename",
	syscall.SYS_UNLINKAT:  "unlink",
	syscall.SYS_FTRUNCATE: "truncate",
	syscall.SYS_MKDIRAT:   "mkdir",
}

// how is a way in which a system call fails.
type how string

const (
	// eio: the call is skipped and returns EIO.
	eio how = "EIO"
	// enospc: the call is skipped and returns ENOSPC. A write writes half, and the next
	// write to the same file fails.
	enospc how = "ENOSPC"
	// eioDone: the call is made but returns EIO.
	eioDone how = "EIO-though-done"
)

// fault makes one system call of a traced process fail: the one with number at among the
// calls of its kind, by any thread, on files in dir. If at is 0, it only counts.
type fault struct {
	dir  string
	kind string
	at   int
	how  how

	mu     sync.Mutex
	counts map[string]int // by kind
	met    string         // the call that has failed, for people

	thread int    // of the call that is failing, until it ends
	next   string // whose next write fails
}

// meet is called by the tracer of process pid at each stop of a thread.
func (f *fault) meet(pid, thread int, at stop) error {
	if at.op == syscallExit {
		if f.thread != thread {
			return nil
		}
		f.thread = 0
		errno := syscall.EIO
		if f.how == enospc {
			errno = syscall.ENOSPC
		}
		return answerCall(thread, errno)
	}
	kind, ok := kinds[at.nr]
	if at.op != syscallEntry || !ok {
		return nil
	}
	path := pathOf(pid, at)
	if path != f.dir && !strings.HasPrefix(path, f.dir+"/") {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next != "" && kind == "write" && path == f.next {
		f.next, f.thread = "", thread
		return skipCall(thread)
	}
	if f.counts == nil {
		f.counts = make(map[string]int)
	}
	f.counts[kind]++
	if kind != f.kind || f.counts[kind] != f.at {
		return nil
	}
	f.met = fmt.Sprintf("%s %s", kind, strings.TrimPrefix(path, f.dir))
	if f.how == enospc && kind == "write" && at.args[2] > 1 {
		f.next = path
		return shortenCall(thread, at.args[2]/2)
	}
	f.thread = thread
	if f.how == eioDone {
		return nil
	}
	return skipCall(thread)
}

// so returns the number of calls so far, by kind, and the call that failed, if any.
func (f *fault) so() (counts map[string]int, met string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts), f.met
}

// pathOf returns the file of a system call: of a rename, the new name. It returns "" if
// the file is unknown.
func pathOf(pid int, at stop) string {
	switch at.nr {
	case syscall.SYS_OPENAT, syscall.SYS_UNLINKAT, syscall.SYS_MKDIRAT:
		return pathAt(pid, at.args[0], at.args[1])
	case syscall.SYS_RENAMEAT, sysRenameat2, syscall.SYS_LINKAT:
		return pathAt(pid, at.args[2], at.args[3])
	}
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, at.args[0]))
	return path
}

// pathAt returns the path whose string is at addr in the process. A relative path is
// below the directory that the process has open as fd.
func pathAt(pid int, fd, addr uint64) string {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return ""
	}
	defer mem.Close()
	b := make([]byte, 4096)
	n, _ := mem.ReadAt(b, int64(addr)) // short where the mapping ends
	b, _, found := bytes.Cut(b[:n], []byte{0})
	if !found {
		return ""
	}
	path := string(b)
	if !filepath.IsAbs(path) {
		at := "cwd"
		if int32(fd) >= 0 {
			at = fmt.Sprintf("fd/%d", fd)
		}
		dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, at))
		path = dir + "/" + path
	}
	return filepath.Clean(path)
}
