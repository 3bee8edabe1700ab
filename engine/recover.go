package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tcp-log-server/segment"
)

// openDisk opens and recovers the store in config's directories and returns the
// head. Every check comes before the first change: a store that is refused is
// left as it was, but for the new and empty directories of a first start.
func openDisk(config Config) (d *disk, head uint64, err error) {
	if err := segment.MakeDir(config.Data); err != nil {
		return nil, 0, err
	}
	d = &disk{
		cfg:  config,
		dir:  filepath.Join(config.Data, "segments"),
		log:  config.Logger,
		full: make(chan *segment.Writer, 16),
		stop: make(chan struct{}),

		create: segment.Create,
		unlink: os.Remove,
	}
	if d.lock, err = segment.Lock(filepath.Join(config.Data, "LOCK")); err != nil {
		return nil, 0, fmt.Errorf("data directory %s: %w", config.Data, err)
	}
	if err := d.recover(); err != nil {
		return nil, 0, errors.Join(d.explain(err), d.release())
	}
	return d, d.open.Last(), nil
}

// explain adds to what is wrong with the store what to do about it.
func (d *disk) explain(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; nothing has been changed: run `tcp-log-server fsck %s` for the whole picture", err, d.cfg.Data)
	case errors.Is(err, segment.ErrVersion):
		return fmt.Errorf("%w: a later tcp-log-server has written it, and only such a one can read it; `tcp-log-server fsck %s` says what there is", err, d.cfg.Data)
	case errors.As(err, &path):
		return fmt.Errorf("%w; if that is not for lack of rights or of room, run `tcp-log-server fsck %s`", err, d.cfg.Data)
	}
	return err
}

// recover brings the store to where the last process left it: every batch that
// can have been acknowledged, and no part of one that cannot.
func (d *disk) recover() error {
	scan, err := d.loadSegments()
	if err != nil {
		return err
	}
	// The entries before the first segment exist as records and blobs alone.
	need := uint64(0)
	head := uint64(0)
	if n := len(d.segments); n > 0 {
		need, head = d.segments[0].Header.First-1, d.segments[n-1].Last()
	} else if _, err := rand.Read(d.id[:]); err != nil {
		return err
	}
	if err := d.checkIndex(need, head, scan); err != nil {
		return err
	}
	if err := d.checkBlobs(need); err != nil {
		return err
	}
	if err := d.checkLeftover(need); err != nil {
		return err
	}
	if err := d.probe(need); err != nil {
		return err
	}
	if err := d.openIndex(need); err != nil {
		return err
	}
	if err := d.openBlobs(); err != nil {
		return err
	}
	if err := d.removeLeftover(); err != nil {
		return err
	}
	if err := d.moveResidues(); err != nil {
		return err
	}
	if err := segment.MakeDir(d.dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.dir, segment.NextName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.openTail(scan); err != nil {
		return err
	}
	return d.mark()
}

// mark marks the directories as this store's, once there is a segment that says
// so too: a mark without one is another log's.
func (d *disk) mark() error {
	var errs []error
	for _, dir := range []string{d.cfg.WAL, d.cfg.Blobs} {
		if dir != Memory {
			errs = append(errs, segment.Mark(dir, d.id))
		}
	}
	return errors.Join(errs...)
}

// claim takes the lock on a directory that another log may have been given too.
func (d *disk) claim(dir string) error {
	lock, err := segment.LockDir(dir)
	if err != nil {
		return err
	}
	d.claims = append(d.claims, lock)
	return nil
}

// loadSegments lists the segments and checks that they are one unbroken chain.
// It scans the last one, and any before it that a crash left unsealed; the scan
// of the last is returned.
func (d *disk) loadSegments() (last segment.Scan, err error) {
	firsts, err := segment.List(d.dir)
	if err != nil {
		return last, err
	}
	for i, first := range firsts {
		s, err := segment.Stat(filepath.Join(d.dir, segment.Name(first)))
		if err != nil {
			return last, err
		}
		if i == 0 {
			d.id = s.Header.Store
		}
		if residue, err := d.residual(s); err != nil {
			return last, err
		} else if residue {
			d.residues = append(d.residues, s)
			continue
		}
		if err := d.follows(s); err != nil {
			if err := d.passOver(s, err); err != nil {
				return last, err
			}
		}
		if !s.Sealed() {
			if last, err = s.Scan(); err != nil {
				return last, err
			}
		}
		d.segments = append(d.segments, s)
	}
	return last, nil
}

// residual reports whether s is what beginning a segment left that failed, after
// which the log went on in the one before: a header of this store and no batch,
// and entries of its indices in the segment before.
func (d *disk) residual(s *segment.Segment) (bool, error) {
	n := len(d.segments)
	if n == 0 || s.Sealed() || s.Header.Store != d.id || s.Header.First > d.segments[n-1].Last() {
		return false, nil
	}
	scan, err := s.Scan()
	if errors.Is(err, ErrDamaged) {
		return false, nil // follows has more to say
	}
	return len(scan.Rows) == 0 && scan.Torn == 0, err
}

// moveResidues moves what is residual to lost+found.
func (d *disk) moveResidues() error {
	for _, s := range d.residues {
		now, err := segment.MoveAside(d.cfg.Data, s.Path, "a segment that was begun and never used: it is empty, and the one before has its indices")
		if err != nil {
			return err
		}
		d.log.Warn().Str("event", "residue").Str("segment", filepath.Base(s.Path)).Str("now", now).
			Msg("an empty segment that overlaps the one before was left by a failure to begin it; it was moved to lost+found")
	}
	d.residues = nil
	return nil
}

// follows checks that s continues the last of the segments.
func (d *disk) follows(s *segment.Segment) error {
	damage := func(format string, args ...any) error {
		return &segment.DamageError{Path: s.Path, First: s.Header.First, Err: fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)}
	}
	if s.Header.Store != d.id {
		return damage("segment belongs to store %s, want %s", s.Header.Store, d.id)
	}
	if len(d.segments) == 0 {
		return nil
	}
	before := d.segments[len(d.segments)-1]
	if want := before.Last() + 1; s.Header.First != want {
		return damage("segment begins at index %d, want %d: %s ends there", s.Header.First, want, filepath.Base(before.Path))
	}
	if want := before.Sum(); s.Header.Prev != want {
		return damage("segment follows checksum %08x, want %08x", s.Header.Prev, want)
	}
	return nil
}

// checkIndex checks the index against the segments.
func (d *disk) checkIndex(need, head uint64, scan segment.Scan) error {
	if d.cfg.WAL == Memory {
		if need > 0 {
			return fmt.Errorf("WAL=memory: entries 1 to %d have no segment, so they need the index on disk", need)
		}
		return nil
	}
	if len(d.segments) == 0 {
		files, _, err := segment.ListRecordFiles(d.cfg.WAL)
		if err != nil {
			return err
		}
		if len(files) > 1 || len(files) == 1 && files[0].Size > 0 {
			return &segment.DamageError{Path: d.dir, First: 1, Err: fmt.Errorf("%w: there are index records in %s but no segments", ErrDamaged, d.cfg.WAL)}
		}
	}
	if err := d.checkMark(d.cfg.WAL); err != nil {
		return err
	}
	if last, err := segment.LastRecord(d.cfg.WAL); err != nil {
		return err
	} else if last > head {
		where := &segment.DamageError{Path: d.dir, First: head + 1, Last: last, Err: fmt.Errorf("%w: the index has records through %d, the segments end at %d", ErrDamaged, last, head)}
		if n := len(d.segments); n > 0 {
			where.Path, where.Offset = d.segments[n-1].Path, scan.End
		}
		return where
	}
	return nil
}

// openIndex opens the index: the last check, and then what it changes.
func (d *disk) openIndex(need uint64) error {
	if d.cfg.WAL == Memory {
		return nil
	}
	if need == 0 {
		if err := segment.MakeDir(d.cfg.WAL); err != nil {
			return err
		}
	}
	if err := d.claim(d.cfg.WAL); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index, trimmed, err := segment.OpenIndex(d.cfg.WAL, need)
	if err != nil {
		return err
	}
	d.index = index
	d.settled.Store(index.Last())
	if trimmed > 0 {
		d.log.Warn().Str("event", "trimmed").Int64("bytes", trimmed).Uint64("last", index.Last()).
			Msg("cut records off the end of the index that did not check out; they are written again from the segments")
	}
	return nil
}

// checkMark refuses a directory that is marked as another store's. A store that
// has no segments yet has marked none.
func (d *disk) checkMark(dir string) error {
	found, ok, err := segment.FindMark(dir)
	switch {
	case err != nil || !ok:
	case len(d.segments) == 0:
		err = &segment.DamageError{Path: d.dir, First: 1, Err: fmt.Errorf("%w: there are no segments, but %s belongs to store %s: is %s the directory of that log?", ErrDamaged, dir, found, d.cfg.Data)}
	case found != d.id:
		err = fmt.Errorf("%w: %s belongs to store %s, the segments to %s: is it the directory of another log?", ErrDamaged, dir, found, d.id)
	}
	return err
}

// checkBlobs checks that the directory of blobs, if it is one, is this store's.
func (d *disk) checkBlobs(need uint64) error {
	if d.cfg.Blobs == Memory {
		if need > 0 {
			return fmt.Errorf("BLOBS=memory: entries 1 to %d have no segment, so they need the blobs on disk", need)
		}
		return nil
	}
	if len(d.segments) > 0 {
		return d.checkMark(d.cfg.Blobs)
	}
	if names, err := fs.Glob(os.DirFS(d.cfg.Blobs), "[0-9a-f][0-9a-f]/*"); err != nil || len(names) > 0 {
		return &segment.DamageError{Path: d.dir, First: 1, Err: errors.Join(fmt.Errorf("%w: there are %d blobs in %s but no segments", ErrDamaged, len(names), d.cfg.Blobs), err)}
	}
	return d.checkMark(d.cfg.Blobs)
}

// probe looks for the blobs of some of the entries 1 to need, which have no
// segment. That one is missing is for reads to say; that all are means that it is
// the segment that is missing.
func (d *disk) probe(need uint64) error {
	if need == 0 {
		return nil
	}
	records := segment.NewRecordReader(d.cfg.WAL)
	defer records.Close()
	const probes = 8
	var rec [1]segment.Record
	for i := range min(need, probes) {
		index := 1 + i*(need-1)/max(min(need, probes)-1, 1)
		if _, err := records.Read(index, rec[:]); err != nil || rec[0].Size == 0 {
			return nil // the index has more to say about itself
		}
		if _, err := os.Lstat(filepath.Join(d.cfg.Blobs, segment.BlobPath(rec[0].Hash))); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return &segment.DamageError{Path: d.dir, First: 1, Last: need, Err: fmt.Errorf("%w: a segment is missing, and the entries have no blobs either", ErrDamaged)}
}

// openBlobs opens the directory of blobs and counts them where that matters.
func (d *disk) openBlobs() error {
	if d.cfg.Blobs == Memory {
		return nil
	}
	blobs, err := segment.OpenBlobs(d.cfg.Blobs)
	if err != nil {
		return err
	}
	d.blobs = blobs
	if err := d.claim(d.cfg.Blobs); err != nil {
		return err
	}
	d.looseN.Store(-1)
	if d.cfg.LooseMax >= 0 {
		if d.loose, err = blobs.Count(); err != nil {
			return err
		}
		d.looseN.Store(int64(d.loose))
	}
	return nil
}

// openTail readies the segments for appending: it seals what should be sealed,
// cuts what a crash left of a batch, and opens or creates the open segment.
func (d *disk) openTail(scan segment.Scan) error {
	n := len(d.segments)
	for i, s := range d.segments {
		if s.Sealed() || i == n-1 {
			continue
		}
		w, err := segment.Resume(s, segment.Scan{})
		if err != nil {
			return err
		}
		if err := w.Seal(); err != nil {
			return err
		}
	}
	if n > 0 && !d.segments[n-1].Sealed() {
		if scan.Torn > 0 {
			d.log.Warn().Str("event", "torn").Str("segment", filepath.Base(d.segments[n-1].Path)).
				Int64("offset", scan.End).Int64("bytes", scan.Torn).
				Msg("cut off a batch that was never acknowledged")
		}
		w, err := segment.Resume(d.segments[n-1], scan)
		d.open = w
		return err
	}
	h := segment.Header{Store: d.id, First: 1, Created: time.Now().UnixMicro()}
	if n > 0 {
		h.First, h.Prev = d.segments[n-1].Last()+1, d.segments[n-1].Sum()
	}
	w, err := segment.Create(d.dir, h)
	if err != nil {
		return err
	}
	d.open = w
	d.segments = append(d.segments, w.Segment)
	return nil
}
