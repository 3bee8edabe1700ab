//go:build unix

package segment

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
)

// TestOpenPipe opens a pipe as a file and as a directory, which must not wait for its
// other end, and counts blobs with one in place of a shard directory.
func TestOpenPipe(t *testing.T) {
	b := newBlobs(t)
	pipe := filepath.Join(b.dir, "8f")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenRegular(pipe); err == nil {
		t.Errorf("opened %s as a file", f.Name())
	}
	if _, err := OpenDir(pipe); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("as a directory: %v, want %v", err, syscall.ENOTDIR)
	}
	if n, obstructed, err := b.Count(); n != 0 || err != nil || !errors.Is(obstructed, ErrObstructed) || !errors.Is(obstructed, syscall.ENOTDIR) {
		t.Errorf("counted %d, %v, %v, want none and %v", n, obstructed, err, syscall.ENOTDIR)
	}
	if f, err := OpenRegular(b.dir); err == nil {
		t.Errorf("opened %s as a file", f.Name())
	}
}
