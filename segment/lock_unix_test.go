//go:build unix

package segment

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLock: a lock belongs to one process, and within it to one owner, until it is closed.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	for name, lock := range map[string]func() (interface{ Close() error }, error){
		"store":     func() (interface{ Close() error }, error) { return LockStore(dir) },
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

// TestLockRemoved: the lock on a log holds even if LOCK is removed or replaced, and Renew
// recreates LOCK, so that a process that only looks at LOCK is kept out too.
func TestLockRemoved(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, lockName)
			l, err := LockStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if made, err := l.Renew(); made || err != nil {
				t.Errorf("Renew of a lock that is whole: %v, %v", made, err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := LockStore(dir); !errors.Is(err, ErrLocked) {
				t.Errorf("a second lock without LOCK: %v, want ErrLocked", err)
			}
			if made, err := l.Renew(); !made || err != nil {
				t.Errorf("Renew: %v, %v, want true", made, err)
			}
			if _, err := lockFile(path); !errors.Is(err, ErrLocked) {
				t.Errorf("the new LOCK is not locked: %v", err)
			}
		})
	}
}

// TestEmptyRemoved: neither LOCK nor a mark is empty, so `find DATA -empty -delete` leaves
// them alone.
func TestEmptyRemoved(t *testing.T) {
	dir := t.TempDir()
	l, err := LockStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := Mark(dir, testStore); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("find", dir, "-empty", "-print", "-delete").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("find: %v, removed %s", err, out)
	}
	// An earlier version's mark is empty.
	if err := os.Remove(filepath.Join(dir, markPrefix+testStore.String(), markFile)); err != nil {
		t.Fatal(err)
	}
	if err := Mark(dir, testStore); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, markPrefix+testStore.String(), markFile)); err != nil {
		t.Error(err)
	}
}

// TestClaim: a directory of the index or the blobs belongs to one log, unless it is the
// log's own.
func TestClaim(t *testing.T) {
	data, other, wal := t.TempDir(), t.TempDir(), t.TempDir()
	l, err := LockStore(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Claim(wal), l.Claim(data)); err != nil {
		t.Error(err)
	}
	second, err := LockStore(other)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Claim(wal); !errors.Is(err, ErrLocked) {
		t.Errorf("the directory of another log: %v, want ErrLocked", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Claim(wal); err != nil {
		t.Errorf("after the other log has closed: %v", err)
	}
}
