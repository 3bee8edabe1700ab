package fsck

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asUser calls fn without root's right to read and write everything: then only the owner's rights to
// a file count, and to directories above the store too. Reads of fn on other threads are not
// restricted.
func asUser(t *testing.T, fn func()) {
	t.Helper()
	if os.Getuid() != 0 {
		fn()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData // of 64 capabilities
	must(t, unix.Capget(&header, &all[0]))
	less := all
	less[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	must(t, unix.Capset(&header, &less[0]))
	defer func() { must(t, unix.Capset(&header, &all[0])) }()
	fn()
}

// TestUnreadableIndexFile denies the user access to the file of the index: that is an error, not an
// index that lags, and a repair makes no other in its place.
func TestUnreadableIndexFile(t *testing.T) {
	for _, s := range []shape{both, removed, packed} {
		t.Run(string(s), func(t *testing.T) {
			dir := newStore(t, s)
			file := filepath.Join(dir, "wal", "00000000000000000001")
			must(t, os.Chmod(file, 0))
			asUser(t, func() {
				c := runCheck(t, Options{Data: dir})
				if !c.has(Unreadable) || c.has(IndexLag) || c.has(IndexTorn) || c.Errors == 0 {
					t.Errorf("a check finds:\n%s", c)
				}
				for _, f := range c.findings {
					if f.Kind == Unreadable && f.File != file || f.Kind == IndexShort && !strings.Contains(f.Message, file) {
						t.Errorf("%s: %s, want %s named", f.File, f.Message, file)
					}
				}
				res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true})
				if code != ExitErrors || res.Outcome.Steps > 0 {
					t.Errorf("a repair: exit code %d, %d steps:\n%s", code, res.Outcome.Steps, said)
				}
			})
			must(t, os.Chmod(file, 0o600))
			if c := runCheck(t, Options{Data: dir}); c.Errors > 0 {
				t.Errorf("with the rights given back:\n%s", c)
			}
		})
	}
}

// TestUnreadableShard denies the user access to one directory of blobs: none of its blobs is reported
// missing, and a repair fixes damage elsewhere.
func TestUnreadableShard(t *testing.T) {
	dir := newStore(t, removed)
	shard := filepath.Dir(blobOf(dir, 3))
	stray := filepath.Join(dir, "blobs", "stray")
	must(t, os.WriteFile(stray, []byte("stray"), 0o600))
	must(t, os.Chtimes(stray, time.Unix(1, 0), time.Unix(1, 0)))
	must(t, os.Chmod(shard, 0))
	asUser(t, func() {
		c := runCheck(t, Options{Data: dir, Workers: 1})
		if !c.has(Unreadable) || c.has(BlobMissing) || c.has(BlobOrphan) || c.Damaged == 0 {
			t.Errorf("a check finds:\n%s", c)
		}
		res, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}})
		if code != ExitErrors || res.Outcome.Steps != 1 {
			t.Errorf("a repair: exit code %d, %d steps:\n%s", code, res.Outcome.Steps, said)
		}
	})
	must(t, os.Chmod(shard, 0o700))
	if c := runCheck(t, Options{Data: dir}); c.Errors > 0 || c.Hints > 0 {
		t.Errorf("with the rights given back:\n%s", c)
	}
}

// TestNoRights denies the user access to the log's directory and that of its segments: the check
// cannot be made, and says why.
func TestNoRights(t *testing.T) {
	dir := newStore(t, both)
	for _, closed := range []string{dir, segmentDir(dir)} {
		must(t, os.Chmod(closed, 0))
		asUser(t, func() {
			if _, err := Check(t.Context(), Options{Data: dir}); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: %v, want %v", closed, err, fs.ErrPermission)
			}
			if _, err := Repair(t.Context(), RepairOptions{Options: Options{Data: dir}}); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("a repair of %s: %v, want %v", closed, err, fs.ErrPermission)
			}
		})
		must(t, os.Chmod(closed, 0o700))
	}
}
