//go:build unix

package segment

import (
	"errors"
	"path/filepath"
	"testing"
)

// TestLock: a lock is one process's, and within it one owner's, until it is closed.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	for name, lock := range map[string]func() (interface{ Close() error }, error){
		"file":      func() (interface{ Close() error }, error) { return Lock(filepath.Join(dir, "LOCK")) },
		"directory": func() (interface{ Close() error }, error) { return LockDir(dir) },
	} {
		first, err := lock()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := lock(); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: the second lock is given: %v, want ErrLocked", name, err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := lock()
		if err != nil {
			t.Errorf("%s: locked after it was given back: %v", name, err)
			continue
		}
		again.Close()
	}
}
