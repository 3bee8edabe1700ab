package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// openDisk opens and recovers the store in config's directories and returns the head. Every
// check comes before the first change: a store that is refused is left as it was, except for
// new, empty directories of a first start.
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

		blobs: config.BlobStore,

		create: segment.Create,
		unlink: segment.Remove,
	}
	if d.blobs == nil {
		d.blobs = segment.BlobsIn(config.Blobs)
	}
	if d.lock, err = segment.LockStore(config.Data); err != nil {
		return nil, 0, err
	}
	if d.standing, err = loadStanding(config); err == nil {
		err = d.recover()
	}
	if err != nil {
		err = d.explain(err)
		if d.open != nil {
			err = errors.Join(err, d.open.Close())
		}
		return nil, 0, errors.Join(err, d.release())
	}
	if err := d.remember(); err != nil {
		return nil, 0, errors.Join(err, d.open.Close(), d.release())
	}
	d.warnOfBackup()
	d.warnOfAccess()
	return d, d.open.Last(), nil
}

// explain adds advice to an error of the store.
func (d *disk) explain(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; nothing has been changed: run `tcp-log-server fsck %s` for the whole picture", err, d.cfg.Data)
	case errors.Is(err, segment.ErrVersion):
		return fmt.Errorf("%w: a newer tcp-log-server has written it: use that version; `tcp-log-server fsck %s` lists what there is", err, d.cfg.Data)
	case errors.As(err, &path):
		return fmt.Errorf("%w; if that is not for lack of rights or of room, run `tcp-log-server fsck %s`", err, d.cfg.Data)
	}
	return err
}

// recover brings the store to where the last process left it: every batch that can have been
// acknowledged, and no part of one that cannot.
func (d *disk) recover() error {
	store, err := segment.CaptureLocked(segment.Dirs{Data: d.cfg.Data, WAL: d.cfg.WAL, Blobs: d.cfg.Blobs})
	if err != nil {
		return err
	}
	if err := d.loadSegments(store); err != nil {
		return err
	}
	// The entries before the first segment exist only as records and blobs.
	need := uint64(0)
	head := uint64(0)
	if n := len(d.segments); n > 0 {
		need, head = d.segments[0].Header.First-1, d.segments[n-1].Last()
	} else if d.id = d.cfg.Store; d.id == (segment.StoreID{}) {
		_, _ = rand.Read(d.id[:]) // never fails
	}
	if want := d.cfg.Store; want != (segment.StoreID{}) && d.id != want {
		return fmt.Errorf("%s belongs to store %s, want %s: is it the directory of another log?", d.cfg.Data, d.id, want)
	}
	if err := d.archived.load(d.cfg.Data, d.cfg.Archive, d.id, need); err != nil {
		return err
	}
	if err := d.checkIndex(need, head, store); err != nil {
		return err
	}
	if err := d.checkBlobs(need); err != nil {
		return err
	}
	if err := d.checkLeftover(need, store); err != nil {
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
	if err := d.moveResidues(store.Residues); err != nil {
		return err
	}
	if err := segment.MakeDir(d.dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.dir, segment.NextName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.standing.mark(); err != nil {
		return err
	}
	if err := d.openTail(store); err != nil {
		return err
	}
	return d.mark()
}

// mark marks the directories as this store's, once there is a segment that says so too: a
// mark without one is another log's.
func (d *disk) mark() error {
	var errs []error
	for _, dir := range []string{d.cfg.WAL, d.cfg.Blobs} {
		if dir != Memory {
			errs = append(errs, segment.Mark(dir, d.id))
		}
	}
	return errors.Join(errs...)
}

// loadSegments takes over the segments of the store, and checks that they are one
// unbroken chain.
func (d *disk) loadSegments(store *segment.Store) error {
	var before *segment.File
	for _, f := range store.Files {
		if err := f.Follows(before); err != nil {
			if err := d.passOver(f, err); err != nil {
				return err
			}
		}
		if err := f.Check(); err != nil {
			return err
		}
		if before == nil {
			d.id = f.Header.Store
		}
		d.segments = append(d.segments, f.Segment())
		before = f
	}
	return nil
}

// checkMark refuses a directory that is marked as another store's. A store that
// has no segments yet has marked none.
func (d *disk) checkMark(dir string) error {
	found, ok, err := segment.FindMark(dir)
	switch {
	case err != nil || !ok:
	case len(d.list()) == 0:
		err = &segment.DamageError{Path: d.dir, First: 1, Err: fmt.Errorf("%w: there are no segments, but %s belongs to store %s: is %s the directory of that log?", ErrDamaged, dir, found, d.cfg.Data)}
	case found != d.id:
		err = fmt.Errorf("%w: %s belongs to store %s, the segments to %s: is it the directory of another log?", ErrDamaged, dir, found, d.id)
	}
	return err
}

// checkBlobs checks that the directory of blobs, or another store of them, is this log's.
func (d *disk) checkBlobs(need uint64) error {
	if d.remote() {
		return d.checkRemote()
	}
	if d.blobs == nil {
		return d.archived.loose(1, need, func(first, last uint64) error {
			return fmt.Errorf("BLOBS=memory: entries %d to %d have no segment, so they need the blobs on disk", first, last)
		})
	}
	if len(d.segments) > 0 {
		return d.checkMark(d.cfg.Blobs)
	}
	count := 0
	err := d.blobs.List(context.Background(), "", func(BlobInfo) error { count++; return nil })
	if err != nil || count > 0 {
		return &segment.DamageError{Path: d.dir, First: 1, Err: errors.Join(fmt.Errorf("%w: there are %d blobs in %s but no segments", ErrDamaged, count, d.cfg.Blobs), err)}
	}
	return d.checkMark(d.cfg.Blobs)
}

// probe looks for the blobs of some of the entries 1 to need, which have no segment, except
// those in the archive. If one is missing, reads will report it; if all are, it is the
// segment that is missing.
func (d *disk) probe(need uint64) error {
	return d.archived.loose(1, need, d.probeRun)
}

// probeRun is probe for the entries first to last.
func (d *disk) probeRun(first, last uint64) error {
	records := segment.NewRecords(d.cfg.WAL, last)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	defer records.Close()
	count := last - first + 1
	const probes = 8
	for i := range min(count, probes) {
		index := first + i*(count-1)/max(min(count, probes)-1, 1)
		rec, err := records.At(index)
		if err != nil || rec.Lost() {
			return nil // opening the index tells more
		}
		if there, err := d.blobs.Has(ctx, rec.Hash); there || err != nil {
			return nil // inconclusive here; reads will tell
		}
	}
	err := fmt.Errorf("%w: a segment is missing, and the entries have no blobs either", ErrDamaged)
	switch {
	case d.remote():
		err = fmt.Errorf("%w: a segment is missing, and %s has no blobs of the entries: is it the store of this log, and is the share mounted?", ErrDamaged, d.blobs)
	case d.archived.note.Load().URL == "":
		err = fmt.Errorf("%w; if an archive has them, %s is missing, which says so", err, filepath.Join(d.cfg.Data, segment.ArchiveName))
	}
	return &segment.DamageError{Path: d.dir, First: first, Last: last, Err: err}
}

// openBlobs opens the directory of blobs and counts them where that matters. The settler
// counts those in another store.
func (d *disk) openBlobs() error {
	if d.remote() {
		d.looseN.Store(-1)
		return nil
	}
	if d.blobs == nil {
		return nil
	}
	if err := segment.MakeDir(d.cfg.Blobs); err != nil {
		return err
	}
	if err := d.lock.Claim(d.cfg.Blobs); err != nil {
		return err
	}
	blobs, err := segment.OpenBlobs(d.cfg.Blobs)
	if err != nil {
		return err
	}
	d.blobs, d.files = blobs, blobs
	d.looseN.Store(-1)
	if d.cfg.LooseMax >= 0 {
		loose, obstructed, err := blobs.Count()
		if err != nil {
			return err
		}
		if obstructed != nil {
			d.log.Warn().Err(obstructed).Str("event", "obstructed").
				Msg("entries whose blobs belong there stay packed in segments: move it away")
		}
		d.loose = loose
		d.looseN.Store(int64(d.loose))
	}
	return nil
}
