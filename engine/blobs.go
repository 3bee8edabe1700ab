package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tcp-log-server/segment"
)

// BlobStore keeps blobs, the canonical JSON of one entry each, under their hashes: the
// directory Config.Blobs, or another store that Config.BlobStore has. Package enginetest
// tests whether an implementation keeps to the contract.
//
// Blobs are put after their entries have been acknowledged, by the settler, and the records
// of the index come after the blobs. So while the store is slow or away, appends go on, the
// entries stay in their segments and are read from there, and Stats.Unsettled grows; the
// settler tries again, after a second at first and after a minute at last. It keeps
// nothing of them in memory meanwhile. No segment is removed before each of its blobs has
// been read back from the store and hashed.
type BlobStore = segment.BlobStore

// What a BlobStore says of a blob, and the mark of a log in it.
type (
	Hash       = segment.Hash
	BlobInfo   = segment.BlobInfo
	BlobMarker = segment.BlobMarker
	StoreID    = segment.StoreID
)

// Errors of a BlobStore.
var (
	// ErrNotFound: the store has no such blob.
	ErrNotFound = segment.ErrNotFound
	// ErrObstructed: this one blob cannot be stored, whenever it is tried. Its entry stays
	// packed in its segment.
	ErrObstructed = segment.ErrObstructed
)

const (
	// remoteMax is how many blobs are put into a store that is no directory at a time, or read
	// from it for one reader: each call waits for an answer from far away.
	remoteMax = 64
	// remoteBytes is how many bytes of blobs are read at a time for one reader at least, unless
	// one is larger by itself.
	remoteBytes = 1 << 20
	// remoteTime is how long a call to such a store may take, and remoteRate how many bytes a second
	// it must come to at least, so that one that hangs is told from one that is slow.
	remoteTime = 30 * time.Second
	remoteRate = 1 << 20
	// startTime bounds what a start waits for such a store.
	startTime = 5 * time.Second
	// readBackRun is how many blobs are read back at a stretch before a segment is removed.
	readBackRun = 512
)

// remote reports whether the blobs are in a store that is no directory.
func (d *disk) remote() bool { return d.cfg.BlobStore != nil }

// remoteContext bounds a call that moves so many bytes.
func remoteContext(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, remoteTime+time.Duration(size)*time.Second/remoteRate)
}

// putter puts the blobs of the settler into a store that is no directory, many at a time.
type putter struct {
	store   BlobStore
	group   *errgroup.Group
	ctx     context.Context
	flying  int          // since the last wait
	created atomic.Int64 // of those
	failed  error        // of any since the settler last started over: no record may follow
}

// put begins to put a blob, once fewer than remoteMax are under way. obstructed is called, by any
// goroutine, if this blob cannot be stored.
func (p *putter) put(ctx context.Context, hash Hash, entry []byte, obstructed func(error)) {
	if p.group == nil {
		p.group, p.ctx = errgroup.WithContext(ctx)
		p.group.SetLimit(remoteMax)
	}
	group, ctx := p.group, p.ctx
	p.flying++
	group.Go(func() error {
		ctx, cancel := remoteContext(ctx, int64(len(entry)))
		defer cancel()
		created, err := p.store.Put(ctx, hash, entry)
		switch {
		case errors.Is(err, ErrObstructed):
			obstructed(err)
		case err != nil:
			return fmt.Errorf("put blob %s: %w", segment.BlobName(p.store, hash), segment.Unavailable(p.store, err))
		case created:
			p.created.Add(1)
		}
		return nil
	})
}

// wait waits for all that are under way, and returns how many of them the store did not have.
func (p *putter) wait() (created int, err error) {
	if p.group != nil {
		if err := p.group.Wait(); p.failed == nil {
			p.failed = err
		}
	}
	p.group, p.ctx, p.flying = nil, nil, 0
	return int(p.created.Swap(0)), p.failed
}

// sync makes durable what has been put.
func (p *putter) sync(ctx context.Context) error {
	ctx, cancel := remoteContext(ctx, 0)
	defer cancel()
	if err := p.store.Sync(ctx); err != nil {
		return fmt.Errorf("sync blobs: %w", segment.Unavailable(p.store, err))
	}
	return nil
}

// checkRemote checks at the start that a store that is no directory is this log's. One that
// cannot be reached is left to the settler, which asks before it puts anything: what the
// segments hold needs no other store.
func (d *disk) checkRemote() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	err := d.checkRemoteMark(ctx)
	if errors.Is(err, ErrUnavailable) {
		d.log.Warn().Err(err).Str("event", "blobs").Msg("the log starts without its store of blobs; entries stay in their segments until it is there")
		return nil
	}
	return err
}

// checkRemoteMark refuses a store that is marked as another log's, or has blobs and no mark
// where there are no segments. Other errors wrap ErrUnavailable.
func (d *disk) checkRemoteMark(ctx context.Context) error {
	marker, ok := d.blobs.(BlobMarker)
	if !ok {
		return nil
	}
	found, marked, err := marker.FindMark(ctx)
	switch {
	case err != nil:
		return segment.Unavailable(d.blobs, err)
	case marked && found == d.id: // perhaps by the log that this one is a replica of
	case marked && len(d.list()) == 0:
		return &segment.DamageError{Path: d.dir, First: 1, Err: fmt.Errorf("%w: there are no segments, but %s belongs to store %s: is %s the directory of that log?", ErrDamaged, d.blobs, found, d.cfg.Data)}
	case marked && found != d.id:
		return fmt.Errorf("%w: %s belongs to store %s, the segments to %s: is it the store of another log?", ErrDamaged, d.blobs, found, d.id)
	case !marked && len(d.list()) > 0 && d.firstIndex() > 1:
		return d.checkRemoteUnmarked(ctx)
	case !marked && len(d.list()) == 0:
		any := errors.New("any")
		switch err := d.blobs.List(ctx, "", func(BlobInfo) error { return any }); {
		case errors.Is(err, any):
			return &segment.DamageError{Path: d.dir, First: 1, Err: fmt.Errorf("%w: there are blobs in %s but no segments", ErrDamaged, d.blobs)}
		case err != nil:
			return segment.Unavailable(d.blobs, err)
		}
	}
	return nil
}

// checkRemoteUnmarked checks a store without a mark, although the log has entries that are in
// blobs alone: it has lost its mark if it has the blob of the last of them. Otherwise it
// is another place than it was, such as the directory on which a share is not mounted, and
// what went there would not be found later.
func (d *disk) checkRemoteUnmarked(ctx context.Context) error {
	records := segment.NewRecords(d.cfg.WAL, d.firstIndex()-1)
	defer records.Close()
	return d.archived.loose(1, d.firstIndex()-1, func(_, last uint64) error {
		rec, err := records.At(last)
		if err != nil || rec.Lost() {
			return nil // nothing says so
		}
		there, err := d.blobs.Has(ctx, rec.Hash)
		if err == nil && !there {
			err = fmt.Errorf("it has neither a mark nor the blob of entry %d: is it the store of this log, and is the share mounted?", last)
		}
		return segment.Unavailable(d.blobs, err)
	})
}

// claim makes sure, before the settler puts the first blob, that a store that is no directory
// is this log's, marks it if it has no mark, and counts its blobs where that matters.
//
// The mark names the log and not the process. Two processes on one store, such as a server
// and a copy of it that was started by mistake, or the settler of one that has been
// killed and whose last call is still on its way, do each other no harm: a blob's name is
// its hash, so they put the same bytes under one name, and neither removes any.
func (s *settler) claim(ctx context.Context) error {
	d := s.d
	if s.claimed || !d.remote() || d.cfg.LooseMax == 0 {
		return nil
	}
	// Listing goes at a thousand a second at least.
	ctx, cancel := remoteContext(ctx, int64(max(d.cfg.LooseMax, 0))*remoteRate/1000)
	defer cancel()
	if err := d.checkRemoteMark(ctx); err != nil {
		return err
	}
	if marker, ok := d.blobs.(BlobMarker); ok {
		_, marked, err := marker.FindMark(ctx)
		if err == nil && !marked {
			err = marker.Mark(ctx, d.id)
		}
		if err != nil {
			return segment.Unavailable(d.blobs, err)
		}
		if err := d.checkRemoteMark(ctx); err != nil { // another log may have marked it meanwhile
			return err
		}
	}
	if d.cfg.LooseMax >= 0 {
		loose := 0
		if err := d.blobs.List(ctx, "", func(BlobInfo) error { loose++; return nil }); err != nil {
			return segment.Unavailable(d.blobs, err)
		}
		d.loose = loose
		d.looseN.Store(int64(loose))
	}
	s.claimed = true
	return nil
}

// looseEntry is an entry that was looked for in its blob.
type looseEntry struct {
	rec   segment.Record
	entry []byte
	err   error
}

// readBlobs reads the blobs of the entries that have no error yet: one after another from a
// directory, at once from another store.
func (d *disk) readBlobs(ctx context.Context, entries []looseEntry) {
	read := func(e *looseEntry) {
		ctx := ctx
		if d.remote() {
			var cancel context.CancelFunc
			ctx, cancel = remoteContext(ctx, int64(e.rec.Size))
			defer cancel()
		}
		switch {
		case e.err != nil:
		case e.rec.Lost():
			e.err = ErrLost
		default:
			e.entry, e.err = segment.ReadBlob(ctx, d.blobs, e.rec)
		}
	}
	var group errgroup.Group
	for i := range entries {
		if len(entries) == 1 || !d.remote() {
			read(&entries[i])
			continue
		}
		group.Go(func() error { read(&entries[i]); return nil })
	}
	_ = group.Wait() // each has its own error
}

// ahead is how many entries through last, from index on, are read from their blobs at a time,
// with their records.
func (d *disk) ahead(records *segment.Records, index, last uint64, entries []looseEntry) []looseEntry {
	size := int64(0)
	for ; index <= last && len(entries) < remoteMax && size < remoteBytes; index++ {
		rec, err := records.At(index)
		entries = append(entries, looseEntry{rec: rec, err: err})
		size += int64(rec.Size)
		if !d.remote() {
			break
		}
	}
	return entries
}

// remoteBlobs reads the blobs of the entries first to last from a store that is no directory, by
// their records, and returns the last through which all are as they should be.
func (d *disk) remoteBlobs(ctx context.Context, first, last uint64) (through uint64, err error) {
	records := segment.NewRecords(d.cfg.WAL, last)
	defer records.Close()
	var entries []looseEntry
	for through = first - 1; through < last; {
		entries = d.ahead(records, through+1, last, entries[:0])
		d.readBlobs(ctx, entries)
		for _, e := range entries {
			if e.err != nil {
				return through, fmt.Errorf("index %d: %w", through+1, e.err)
			}
			through++
		}
	}
	return through, nil
}

// readBack reads the blobs of seg's entries back from a store that is no directory, some in
// each call, and reports whether that was the last of them. An error that wraps ErrUnavailable
// says that the rest can be read later.
func (s *settler) readBack(seg *segment.Segment) (all bool, err error) {
	first, last := seg.Header.First, seg.Last()
	s.proven = max(s.proven, first-1)
	if s.proven < last {
		s.proven, err = s.d.remoteBlobs(s.ctx, s.proven+1, min(last, s.proven+readBackRun))
	}
	return s.proven >= last, err
}
