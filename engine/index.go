package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"tcp-log-server/segment"
)

// Taking over the index, at a start and after a failure: it is first checked against the
// segments, then opened, and then completed from them.

// checkIndex checks the index, and what store says about it, against the segments. The
// entries 1 to need have no segment.
func (d *disk) checkIndex(need, head uint64, store *segment.Store) error {
	if d.cfg.WAL == Memory {
		if need > 0 {
			return fmt.Errorf("WAL=memory: entries 1 to %d have no segment, so they need the index on disk", need)
		}
		return nil
	}
	if len(d.list()) == 0 {
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
	if store.IndexErr != nil {
		return store.IndexErr
	}
	if last := store.Records; last > head {
		where := &segment.DamageError{Path: d.dir, First: head + 1, Last: last, Err: fmt.Errorf("%w: the index has records through %d, the segments end at %d", ErrDamaged, last, head)}
		if n := len(store.Files); n > 0 {
			where.Path, where.Offset = store.Files[n-1].Path, store.Files[n-1].End
		}
		return where
	}
	if err := d.checkLastRecord(store.Records); err != nil {
		return err
	}
	return d.checkTrim(need, store.Records)
}

// checkLastRecord refuses an index whose last record does not match the entry in the
// segments: the index of a copy of this log that went its own way. It reads one batch. If
// the record or the entry cannot be read, fsck and reads will report that.
func (d *disk) checkLastRecord(last uint64) error {
	if last == 0 || last < d.firstIndex() {
		return nil
	}
	err := d.proved(last, last)
	if !errors.Is(err, errRecord) {
		return nil
	}
	path, _, off := segment.RecordPath(d.cfg.WAL, last)
	return &segment.DamageError{Path: path, Offset: off, First: last, Last: last,
		Err: fmt.Errorf("%w: is it the index of another copy of this log?", err)}
}

// checkTrim refuses an index that would be trimmed at a record that fails its check while
// records after it, through last, pass: unless the segments alone can supply all these
// entries, those records are what identifies them.
func (d *disk) checkTrim(need, last uint64) error {
	if last <= need {
		return nil // it is not trimmed there
	}
	_, bad, _ := segment.RecordPath(d.cfg.WAL, last) // only the last file is trimmed
	records := segment.NewRecords(d.cfg.WAL, last)
	defer records.Close()
	var why error
	for bad = max(bad, need+1); bad <= last; bad++ {
		if _, why = records.At(bad); why != nil {
			break
		}
	}
	if bad > last {
		return nil
	}
	r := &reader{disk: d, ctx: context.Background(), next: bad, through: last, records: segment.NewRecords(Memory, 0)}
	defer r.close()
	r.fn = func(first uint64, _ int, _ []byte, _ int64, err error) error {
		if err != nil {
			return fmt.Errorf("%w, and entry %d cannot be read from its segment without the records after it: %w", why, first, err)
		}
		return nil
	}
	if err := r.run(); err != nil {
		path, _, off := segment.RecordPath(d.cfg.WAL, bad)
		return &segment.DamageError{Path: path, Offset: off, First: bad, Last: last, Err: err}
	}
	return nil
}

// openIndex opens the index as it is on disk: the last check, and then the first change.
func (d *disk) openIndex(need uint64) (err error) {
	if d.cfg.WAL == Memory {
		return nil
	}
	if need == 0 {
		if err := segment.MakeDir(d.cfg.WAL); err != nil {
			return err
		}
	}
	if err := d.lock.Claim(d.cfg.WAL); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	trimmed := int64(0)
	if d.index == nil {
		d.index, trimmed, err = segment.OpenIndex(d.cfg.WAL, need)
	} else {
		trimmed, err = d.index.Reopen(need)
	}
	if err != nil {
		return err
	}
	d.settled.Store(d.index.Last())
	if trimmed > 0 {
		d.log.Warn().Str("event", "trimmed").Int64("bytes", trimmed).Uint64("last", d.index.Last()).
			Msg("cut records off the end of the index that did not check out; they are written again from the segments")
	}
	return nil
}

// reopen opens the index again if an error has closed it. The disk may have less of it
// than before: the rest is settled again, or, if the segments no longer hold all of that,
// the index stays closed and the segments stay.
func (s *settler) reopen() error {
	if !s.d.index.Closed() {
		return nil
	}
	need, before := s.d.firstIndex()-1, s.d.settled.Load()
	store := &segment.Store{}
	store.Records, store.IndexErr = segment.LastRecord(s.d.cfg.WAL)
	err := s.d.checkIndex(need, s.l.head.Load(), store)
	if err == nil {
		err = s.d.openIndex(need)
	}
	if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w; segments stay as they are meanwhile: stop the server and run `tcp-log-server fsck --repair %s`", err, s.d.cfg.Data)
	}
	if err != nil {
		return err
	}
	s.seen, s.proven = nil, 0 // RemoveAfter starts over
	s.compared = compared{next: 1, last: s.d.settled.Load()}
	if now := s.d.settled.Load(); now < before {
		s.d.log.Warn().Str("event", "reindex").Uint64("settled", now).Uint64("before", before).
			Msg("the index has lost records while the log was open; they are written again from the segments")
	}
	return nil
}
