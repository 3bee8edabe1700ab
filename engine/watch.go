package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"tcp-log-server/segment"
)

// watchEvery is how often the log looks whether its directories and its open segment
// are where they were. What is appended until then may be in files without a name.
const watchEvery = time.Second

// place is a path and what lay there when it was opened.
type place struct {
	path string
	file fs.FileInfo
}

// check says that something else lies at the path, or nothing. What cannot be looked at
// has not moved, as far as is known.
func (p place) check() error {
	now, err := os.Lstat(p.path)
	if err == nil && p.file.Mode()&fs.ModeSymlink == 0 && now.Mode()&fs.ModeSymlink != 0 {
		now, err = os.Stat(p.path) // moved, and a link left in its place
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is gone", ErrMoved, p.path)
	case err == nil && !os.SameFile(now, p.file):
		return fmt.Errorf("%w: %s is not what it was when the log was opened", ErrMoved, p.path)
	}
	return nil
}

// remember notes what the directories of the segments are.
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

// watch ends appends once the directories, or the open segment, have been moved away or
// removed: until the store closes.
func (d *disk) watch(l *Log) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var open *segment.Segment
	var seen place
	for {
		d.mu.RLock()
		last := d.segments[len(d.segments)-1]
		d.mu.RUnlock()
		err := d.inPlace()
		if err == nil && last != open {
			var fi fs.FileInfo
			if fi, err = os.Lstat(last.Path); err == nil {
				open, seen = last, place{last.Path, fi}
			} else if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w: %s is gone", ErrMoved, last.Path)
			} else {
				err = nil
			}
		} else if err == nil {
			err = seen.check()
		}
		if err != nil {
			l.fail(err)
			return
		}
		select {
		case <-tick.C:
		case <-d.stop:
			return
		}
	}
}
