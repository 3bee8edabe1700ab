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

// syncEach is whether each file has to be synced by itself, where there is no
// call that makes all of them durable at once.
const syncEach = runtime.GOOS != "linux"

// link makes the file at to share its bytes with the one at from, which never
// changes any more: a clone (of which each side may change alone) where the file
// system has that, or a hard link. linked is false where it has neither.
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

// sync makes durable everything written, and the names in dirs.
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

// swap puts the set of segments in staged in the place of the current one, by
// one exchange where the system has that, and makes it durable. The old set is
// then where the new one was.
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
	// Two renames, and load undoes the first if a crash comes between.
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
