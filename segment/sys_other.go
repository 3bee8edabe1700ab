//go:build !linux

package segment

import (
	"errors"
	"os"
)

// noWait has no portable form; see sys_linux.go.
const noWait = 0

// fdatasync makes the file durable. Go's Sync is F_FULLFSYNC on macOS and
// FlushFileBuffers on Windows.
func fdatasync(f *os.File) error { return f.Sync() }

// BeginWriting has no portable form: the next sync writes the bytes.
func BeginWriting(*os.File, int64, int64) {}

// dropCache has no portable form; see sys_linux.go for what it protects from.
func dropCache(*os.File) {}

// nextData has no portable form: holes are read as the zeros that they stand for.
func nextData(_ *os.File, off int64) int64 { return off }

// syncFS has no portable form: callers sync each file.
func syncFS(*os.File) (supported bool, err error) { return false, nil }

// SyncFS has no portable form: it only returns an error.
func SyncFS(string) error { return errors.ErrUnsupported }
