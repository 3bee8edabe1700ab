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

// BlobStore keeps blobs, the canonical JSON of one entry each, under their hashes: the directory
// Config.Blobs, or another store in Config.BlobStore. Package enginetest tests implementations
// against the contract.
//
// The settler puts blobs after their entries have been acknowledged, and writes the index records
// after the blobs. So while the store is slow or unreachable, appends continue, the entries stay
// in their segments and are read from there, and Stats.Unsettled grows; the settler retries,
// after a second at first and eventually once a minute. Meanwhile it keeps none of them in
// memory. No segment is removed before each of its blobs has been read back from the store and
// hashed.
type BlobStore = segment.BlobStore

// A BlobStore's description of a blob, and its mark of a log.
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
	// ErrObstructed: this particular blob can never be stored. Its entry stays packed in its
	// segment.
	ErrObstructed = segment.ErrObstructed
)

const (
	// remoteMax is how many blobs are put at a time into a store that is not a directory, or read
	// from it for one reader: each call waits for a distant answer.
	remoteMax = 64
	// remoteBytes is at least how many bytes of blobs are read at a time for one reader; a single
	// blob may be larger.
	remoteBytes = 1 << 20
	// remoteTime is how long a call to such a store may take, and remoteRate the fewest bytes a
	// second that it must transfer, to distinguish a store that hangs from one that is slow.
	remoteTime = 30 * time.Second
	remoteRate = 1 << 20
	// startTime bounds how long a start waits for such a store.
	startTime = 5 * time.Second
	// readBackRun is how many blobs are read back in one go before a segment is removed.
	readBackRun = 512
)

// remote reports whether the blobs are in a store that is not a directory.
func (d *disk) remote() bool { return d.cfg.BlobStore != nil }

// remoteContext bounds a call that transfers size bytes.
func remoteContext(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, remoteTime+time.Duration(size)*time.Second/remoteRate)
}

// putter puts the settler's blobs into a store that is not a directory, many at a time.
type putter struct {
	store   BlobStore
	group   *errgroup.Group
	ctx     context.Context
	flying  int          // since the last wait
	created atomic.Int64 // of those, new in the store
	failed  error        // the first error since the settler last started over: no record may follow
}

// put begins to put a blob, once fewer than remoteMax are under way. obstructed is called, on any
// goroutine, if this blob can never be stored.
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

// wait waits for all puts under way, and returns how many blobs were new to the store.
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

// checkRemote checks at the start that a store that is not a directory is this log's. If it
// cannot be reached, the check is left to the settler, which makes it before it puts anything:
// entries in the segments need no other store.
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

// checkRemoteMark refuses a store that is marked as another log's, or that has blobs and no mark
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
	case marked && found == d.id: // perhaps by the log that this one replicates
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

// checkRemoteUnmarked checks a store without a mark when the log has entries only in blobs: if
// the store has the blob of the last of them, it has lost its mark. Otherwise it is a different
// place than before, such as a directory on which a share is not mounted, and anything put there
// would not be found later.
func (d *disk) checkRemoteUnmarked(ctx context.Context) error {
	records := segment.NewRecords(d.cfg.WAL, d.firstIndex()-1)
	defer records.Close()
	return d.archived.loose(1, d.firstIndex()-1, func(_, last uint64) error {
		rec, err := records.At(last)
		if err != nil || rec.Lost() {
			return nil // no evidence of that
		}
		there, err := d.blobs.Has(ctx, rec.Hash)
		if err == nil && !there {
			err = fmt.Errorf("it has neither a mark nor the blob of entry %d: is it the store of this log, and is the share mounted?", last)
		}
		return segment.Unavailable(d.blobs, err)
	})
}

// claim makes sure, before the settler puts the first blob, that a store that is not a directory
// is this log's, marks it if it has no mark, and counts its blobs where that matters.
//
// The mark names the log, not the process. Two processes on one store, such as a server and a
// copy of it started by mistake, or a settler whose process was killed while its last call was
// still on its way, do each other no harm: a blob's name is its hash, so they put the same bytes
// under one name, and neither removes any.
func (s *settler) claim(ctx context.Context) error {
	d := s.d
	if s.claimed || !d.remote() || d.cfg.LooseMax == 0 {
		return nil
	}
	// Listing returns at least a thousand blobs a second.
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
// directory, in parallel from another store.
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

// ahead adds the entries from index on, at most through last, that are read from their blobs at a
// time, with their records.
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

// remoteBlobs reads the blobs of the entries first to last, by their records, from a store that
// is not a directory, and returns the last entry through which all are intact.
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

// readBack reads the blobs of seg's entries back from a store that is not a directory, a part in
// each call, and reports whether all have been read. An error that wraps ErrUnavailable says that
// the rest can be read later.
func (s *settler) readBack(seg *segment.Segment) (all bool, err error) {
	first, last := seg.Header.First, seg.Last()
	s.proven = max(s.proven, first-1)
	if s.proven < last {
		s.proven, err = s.d.remoteBlobs(s.ctx, s.proven+1, min(last, s.proven+readBackRun))
	}
	return s.proven >= last, err
}
