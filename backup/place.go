package backup

import (
	"errors"
	"io/fs"
	"os"
	"runtime"

	"tcp-log-server/segment"
)

// filePerm is the mode of the log's own files: only their owner may read them.
const filePerm = 0o600

// syncEach says that each file must be synced by itself, because no system call makes all of them
// durable at once.
const syncEach = runtime.GOOS != "linux"

// link makes the file to share its bytes with the file from, which no longer changes: as a clone
// (either side can change without the other) or as a hard link, whichever the file system has.
// linked is false if it has neither.
func (b *backup) link(from, to string) (linked bool, err error) {
	if !b.noClone.Load() {
		if err := clone(from, to); err == nil {
			return true, nil
		} else if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return false, err
		}
		b.noClone.Store(true)
	}
	if !b.noLink.Load() {
		if err := os.Link(from, to); err == nil {
			return true, nil
		} else if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return false, err
		}
		b.noLink.Store(true)
	}
	return false, nil
}

// sync makes durable everything that was written, and the names in dirs.
func (b *backup) sync(dirs ...string) error {
	if !syncEach {
		return segment.SyncFS(b.dest.dir)
	}
	for _, dir := range dirs {
		if err := segment.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// swap exchanges the current set of segments for the one in staged, in one step where the system
// can do that, and makes the change durable. The old set is then in staged.
func (b *backup) swap(step, staged string) error {
	if err := b.step(step); err != nil {
		return err
	}
	d := b.dest
	err := segment.ChangeNames(func() error { return b.exchangeSegments(step, staged) }, d.dir, d.in(""))
	if err == nil {
		d.whole = true
	}
	return err
}

func (b *backup) exchangeSegments(step, staged string) error {
	d := b.dest
	if _, err := os.Lstat(d.segments()); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(staged, d.segments())
	}
	if err := b.exchange(staged, d.segments()); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// Two renames; if a crash comes between them, load undoes the first.
	if err := os.RemoveAll(d.previous()); err != nil {
		return err
	}
	if err := os.Rename(d.segments(), d.previous()); err != nil {
		return err
	}
	if err := b.step(step + " between"); err != nil {
		return err
	}
	return os.Rename(staged, d.segments())
}
