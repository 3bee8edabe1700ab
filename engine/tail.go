package engine

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tcp-log-server/segment"
)

// The end of the log, as a start prepares it for appending. A full disk keeps a start from
// none of its reads: anything that needs room is left until there is some.

// tornRetry is how long appends are refused before the next attempt to cut off torn bytes.
const tornRetry = time.Second

// torn are bytes after the last batch that could not be saved in lost+found for lack of room.
type torn struct {
	bytes int64
	tried time.Time
	err   error
}

// moveResidues moves what a failed attempt to begin a segment left to lost+found.
func (d *disk) moveResidues(residues []*segment.File) error {
	for _, f := range residues {
		now, err := segment.MoveAside(d.cfg.Data, f.Path, "a segment that was begun and never used: it is empty, and the one before has its indices")
		switch {
		case lacksRoom(err):
			// It is empty, so it does no harm.
			d.log.Error().Err(err).Str("event", "residue").Msg("an empty segment that overlaps the one before stays until the next start")
			continue
		case err != nil:
			return err
		}
		d.log.Warn().Str("event", "residue").Str("segment", filepath.Base(f.Path)).Str("now", now).
			Msg("an empty segment that overlaps the one before was left by a failure to begin it; it was moved to lost+found")
	}
	return nil
}

// openTail prepares the segments for appending: it seals what should be sealed, cuts off what
// a crash left of a batch, and opens or creates the open segment.
func (d *disk) openTail(store *segment.Store) error {
	n := len(d.segments)
	for i, s := range d.segments {
		if s.Sealed() || i == n-1 {
			continue
		}
		w, err := segment.Resume(s, 0)
		if err != nil {
			return err
		}
		switch err := w.Seal(); {
		case lacksRoom(err):
			d.log.Error().Err(err).Str("event", "seal").Msg("a segment stays unsealed until the next start")
		case err != nil:
			return err
		}
	}
	if n == 0 || d.segments[n-1].Sealed() {
		h := segment.Header{Store: d.id, First: 1, Created: time.Now().UnixMicro()}
		if n > 0 {
			h.First, h.Prev = d.segments[n-1].Last()+1, d.segments[n-1].Sum()
		}
		return d.begin(h)
	}
	bytes := store.Files[len(store.Files)-1].Walked.Torn
	w, err := segment.Resume(d.segments[n-1], bytes)
	if err != nil {
		return err
	}
	d.open = w
	if bytes > 0 {
		d.torn = &torn{bytes: bytes}
		if err := d.cutTorn(); err != nil && !lacksRoom(err) {
			return err
		}
	}
	return nil
}

// cutTorn cuts off what a crash left of a write after the last batch, once there is room to
// keep a copy of it. Until then it stays, and nothing is appended: no reader sees it, and the
// next start finds it unchanged.
func (d *disk) cutTorn() error {
	t := d.torn
	if t.err != nil && time.Since(t.tried) < tornRetry {
		return t.err
	}
	file, end := d.open.Path, d.open.End()
	now, err := segment.CopyAside(d.cfg.Data, file, end, t.bytes, fmt.Sprintf("the bytes from offset %d on, where no whole batch lies: cut off at a start", end))
	if err != nil {
		if t.err == nil {
			d.log.Error().Err(err).Str("event", "torn").Str("segment", filepath.Base(file)).Int64("offset", end).Int64("bytes", t.bytes).
				Msg("what looks like an unfinished write cannot be copied to lost+found; appends are refused until it is")
		}
		t.tried, t.err = time.Now(), err
		return err
	}
	if err := d.open.Cut(); err != nil {
		return err
	}
	d.torn = nil
	d.log.Warn().Str("event", "torn").Str("segment", filepath.Base(file)).
		Int64("offset", end).Int64("bytes", t.bytes).Str("now", now).
		Msg("cut off what looks like an unfinished write; a copy is in lost+found")
	return nil
}

// begin begins a segment, and makes it the open one.
func (d *disk) begin(h segment.Header) error {
	w, err := d.create(d.dir, h, d.cfg.SegmentSize)
	if err != nil {
		errors.As(err, &d.residue)
		return err
	}
	d.mu.Lock()
	d.segments = append(slices.Clone(d.segments), w.Segment)
	d.mu.Unlock()
	d.open = w
	return nil
}

// lacksRoom reports whether err says that there was no room to write. If a sync failed for
// that reason, it is not known what is on the disk.
func lacksRoom(err error) bool {
	return !errors.Is(err, segment.ErrSync) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG))
}
