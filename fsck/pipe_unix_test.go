//go:build unix

package fsck

import (
	"syscall"
	"testing"
)

// makePipe makes a named pipe, which blocks whoever opens it.
func makePipe(t testing.TB, path string) {
	t.Helper()
	must(t, syscall.Mkfifo(path, 0o600))
}
