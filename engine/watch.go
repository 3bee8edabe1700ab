package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"tcp-log-server/segment"
)

// watchEvery is how often the log checks that its directories and its open segment are
// where they were. Entries appended in between may be in files without a name.
const watchEvery = time.Second

// place is a path and what was there when it was opened.
type place struct {
	path string
	file fs.FileInfo
}

// check returns an error if something else, or nothing, is at the path. A path that cannot
// be examined is assumed not to have moved.
func (p place) check() error {
	now, err := os.Lstat(p.path)
	if err == nil && p.file.Mode()&fs.ModeSymlink == 0 && now.Mode()&fs.ModeSymlink != 0 {
		now, err = os.Stat(p.path) // moved, with a link left in its place
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is gone", ErrMoved, p.path)
	case err == nil && !os.SameFile(now, p.file):
		return fmt.Errorf("%w: %s is not what it was when the log was opened", ErrMoved, p.path)
	}
	return nil
}

// remember notes the directories of the segments.
func (d *disk) remember() error {
	for _, path := range []string{d.cfg.Data, d.dir} {
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		d.places = append(d.places, place{path, fi})
	}
	return nil
}

// inPlace checks that the directories of the segments are where they were.
func (d *disk) inPlace() error {
	for _, p := range d.places {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

// startWatch records the open segment, and then makes watch check every watchEvery.
func (d *disk) startWatch(l *Log) {
	open := d.last()
	seen := place{path: open.Path}
	if err := d.openInPlace(open, &seen); err != nil {
		l.fail(err)
		return
	}
	d.work.Go(func() { d.watch(l, open, seen) })
}

// watch ends appends once the directories, or the open segment, have been moved or removed;
// it runs until the store closes. If LOCK has been removed, it creates it again. It also
// measures the file system, for stats, which must not wait for a disk.
func (d *disk) watch(l *Log, open *segment.Segment, seen place) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		err := d.inPlace()
		if err == nil {
			if last := d.last(); last != open {
				open, seen = last, place{path: last.Path}
			}
			err = d.openInPlace(open, &seen)
		}
		if err != nil {
			l.fail(err)
			return
		}
		d.renewLock()
		d.space.Store(measure(d.dir))
		select {
		case <-tick.C:
		case <-d.stop:
			return
		}
	}
}

// renewLock creates LOCK again if something has removed it. Until then, or if that fails,
// the lock on the directory holds.
func (d *disk) renewLock() {
	made, err := d.lock.Renew()
	switch {
	case made:
		d.log.Warn().Str("event", "lock").Str("data", d.cfg.Data).Msg("LOCK was removed while the log is open, and has been made again: leave the files of a log to it")
	case err != nil && !d.lockLost:
		d.log.Warn().Str("event", "lock").Str("data", d.cfg.Data).Err(err).Msg("LOCK was removed while the log is open, and cannot be made again")
	}
	d.lockLost = err != nil
}

// openInPlace checks that the open segment is where it was when it was first seen, which it
// notes in seen. A segment that has been sealed since may also have been removed.
func (d *disk) openInPlace(open *segment.Segment, seen *place) (err error) {
	if seen.file == nil {
		var fi fs.FileInfo
		if fi, err = os.Lstat(seen.path); err == nil {
			seen.file = fi
		} else if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s is gone", ErrMoved, seen.path)
		} else {
			return nil // nothing is known
		}
	} else {
		err = seen.check()
	}
	if d.last() != open {
		return nil
	}
	return err
}

// last returns the open segment.
func (d *disk) last() *segment.Segment {
	segments := d.list()
	return segments[len(segments)-1]
}
