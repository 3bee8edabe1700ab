package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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

// failure is a way in which a system call fails.
type failure string

const (
	// eio: the call is skipped and returns EIO.
	eio failure = "EIO"
	// enospc: the call is skipped and returns ENOSPC. A write writes half, and the next
	// write to the same file fails.
	enospc failure = "ENOSPC"
	// eioDone: the call is made but returns EIO.
	eioDone failure = "EIO-though-done"
	// eioLost: a sync is skipped and returns EIO, and the bytes that it should have written
	// become zeros, as if the page cache had dropped pages that the disk refused.
	eioLost failure = "EIO-and-lost"
)

// fault makes one system call of a traced process fail. It counts the calls of each
// kind on files in dir over all threads, and fails call number at of its kind. If at is
// 0, it only counts.
type fault struct {
	dir  string
	kind string
	at   int
	how  failure

	mu     sync.Mutex
	counts map[string]int // by kind
	failed string         // kind and file of the call that has failed

	thread int    // of the call that is failing, until it ends
	next   string // the file whose next write fails
	dirty  map[uint64][]span
}

// span is a range of bytes in a file. Dirty spans are written but not synced; they are
// kept by inode, since files are renamed.
type span struct{ off, size int64 }

// stopped is called by the tracer of process pid whenever a thread stops at a call.
func (f *fault) stopped(pid, thread int, at stop) error {
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
		f.counts, f.dirty = make(map[string]int), make(map[uint64][]span)
	}
	f.counts[kind]++
	if kind != f.kind || f.counts[kind] != f.at {
		f.written(pid, at, kind)
		return nil
	}
	f.failed = fmt.Sprintf("%s %s", kind, strings.TrimPrefix(path, f.dir))
	switch {
	case f.how == enospc && kind == "write" && at.args[2] > 1:
		f.next = path
		at.args[2] /= 2
		f.written(pid, at, kind)
		return shortenCall(thread, at.args[2])
	case f.how == eioDone:
		f.thread = thread
		f.written(pid, at, kind)
		return nil
	case f.how == eioLost:
		if err := f.lose(path, at.nr == unix.SYS_SYNCFS); err != nil {
			return err
		}
	}
	f.thread = thread
	return skipCall(thread)
}

// written updates the dirty spans before a call is made.
func (f *fault) written(pid int, at stop, kind string) {
	if kind != "write" && kind != "sync" {
		return
	}
	if at.nr == unix.SYS_SYNCFS {
		clear(f.dirty)
		return
	}
	fd := at.args[0]
	fi, err := os.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return
	}
	ino := inode(fi)
	if kind == "sync" {
		delete(f.dirty, ino)
		return
	}
	off := int64(at.args[3])
	if at.nr == syscall.SYS_WRITE {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
		fmt.Sscanf(string(b), "pos: %d", &off)
	}
	f.dirty[ino] = append(f.dirty[ino], span{off, int64(at.args[2])})
}

// lose overwrites the dirty spans of the file at path with zeros or, with below, those of
// the files below a directory. Without below, the sync of a directory concerns only names.
func (f *fault) lose(path string, below bool) error {
	if fi, err := os.Stat(path); err != nil || fi.IsDir() && !below {
		return nil
	}
	return filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed or removed meanwhile
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return nil
		}
		spans := f.dirty[inode(fi)]
		if len(spans) == 0 {
			return nil
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil
		}
		defer file.Close()
		for _, s := range spans {
			n := min(s.size, fi.Size()-s.off)
			if n <= 0 {
				continue
			}
			if _, err := file.WriteAt(make([]byte, n), s.off); err != nil {
				return err
			}
		}
		return nil
	})
}

// inode returns the number of a file's inode.
func inode(fi fs.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }

// state returns the number of calls so far, by kind, and the call that has failed, if
// one has.
func (f *fault) state() (counts map[string]int, failed string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts), f.failed
}

// pathOf returns the path of the file of a system call, the new path for a rename, or
// an empty string if it is unknown.
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

// pathAt returns the absolute path for the string at addr in the process's memory. A
// relative path is relative to the directory open as fd.
func pathAt(pid int, fd, addr uint64) string {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return ""
	}
	defer mem.Close()
	b := make([]byte, 4096)
	n, _ := mem.ReadAt(b, int64(addr)) // short at the end of the mapping
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
