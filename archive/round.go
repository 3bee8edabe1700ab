package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// incrementMax is about the maximum size of an increment in bytes.
const incrementMax = 8 << 20

// round uploads everything that the bucket lacks. A crash of either side at any point leaves a
// complete archive: an object counts once it continues those before it, and an object that another
// one replaces is deleted after the other is there.
func (k *Keeper) round(ctx context.Context) error {
	if !k.claimed {
		if err := k.claim(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	segs := k.files()
	if !k.isNew(segs) && time.Since(k.looked) < lookEvery {
		k.complete(began)
		return nil
	}
	late, err := k.late(ctx, segs)
	if err != nil {
		return err
	}
	if err := k.stillOwner(ctx); err != nil {
		return err
	}
	for _, key := range late {
		if err := k.Bucket.Delete(ctx, key); err != nil {
			return err
		}
	}
	if err := k.putEpoch(ctx); err != nil {
		return err
	}
	for _, s := range k.lost(segs) {
		if err := k.putSealed(ctx, s); err != nil {
			return err
		}
	}
	k.publish(0)
	if first := segs[0].First; first > k.sealedEnd+1 {
		if err := k.pack(ctx, first, segs[0].Header.Prev); err != nil {
			return err
		}
	}
	for _, s := range segs {
		if s.First <= k.sealedEnd {
			continue
		}
		if k.isStopping() {
			return errStopping
		}
		var err error
		if s.Sealed {
			err = k.putSealed(ctx, s)
		} else {
			err = k.putIncrements(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	k.clear(ctx)
	if err := k.putIndex(ctx); err != nil {
		return err
	}
	k.complete(began)
	return nil
}

// last uploads new entries of the open segments when the server stops. It checks first that the
// keeper has not been replaced since its last round: it would continue the archive with entries
// that its successor does not have.
func (k *Keeper) last(ctx context.Context) error {
	segs := k.files()
	if !k.claimed {
		return errStopping
	}
	if !k.isNew(segs) {
		return nil
	}
	if err := k.stillOwner(ctx); err != nil {
		return err
	}
	for _, s := range segs {
		if s.First > k.sealedEnd+1 && k.through() < s.First-1 {
			return errStopping // the next start uploads the entries before it
		}
		if s.First > k.sealedEnd {
			// A segment that was just sealed is left for the next start: its new batches are faster to
			// upload.
			if err := k.putIncrements(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// files returns the current segments.
func (k *Keeper) files() (files []*segment.File) {
	for _, s := range k.log.Segments() {
		files = append(files, s.File())
	}
	return files
}

// lost returns the segments whose objects are missing from the bucket although it has later ones.
func (k *Keeper) lost(segs []*segment.File) (lost []*segment.File) {
	for _, s := range segs {
		if s.Sealed && s.Last <= k.sealedEnd && !k.sealed[s.First] {
			lost = append(lost, s)
		}
	}
	return lost
}

// isNew reports whether there is anything to upload.
func (k *Keeper) isNew(segs []*segment.File) bool {
	for _, s := range segs {
		switch {
		case s.First <= k.sealedEnd:
			if s.Sealed && !k.sealed[s.First] {
				return true
			}
		case s.Sealed, s.Last > k.open[s.First].Last && !s.Empty():
			return true
		}
	}
	text, _ := k.readEpoch()
	return segs[0].First > k.sealedEnd+1 || text != "" && text != k.epoch || k.indexDue() ||
		slices.ContainsFunc(k.obsolete, func(i Increment) bool { return i.First <= k.sealedEnd })
}

// putSealed checks and uploads a sealed segment.
func (k *Keeper) putSealed(ctx context.Context, s *segment.File) error {
	f, err := segment.OpenRegular(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	footer, at, err := checkSealed(f, s.Path, s.First)
	if err != nil {
		return fmt.Errorf("%w; run `tcp-log-server fsck %s`", err, k.Dirs.Data)
	}
	return k.putSegment(ctx, f, footer, at)
}

// putSegment uploads a checked segment whose last batch was committed at the time at.
func (k *Keeper) putSegment(ctx context.Context, f *os.File, footer segment.Footer, at int64) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	key := SegmentKey(footer.First)
	err = k.Bucket.Put(ctx, key, f, fi.Size(), true)
	if errors.Is(err, bucket.ErrExists) {
		err = k.isThere(ctx, key, f, fi.Size())
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", objectPath(k.Bucket, key), err)
	}
	k.sealed[footer.First] = true
	if footer.Last <= k.sealedEnd {
		return nil
	}
	k.sealedEnd, k.sealedSum = footer.Last, footer.Sum
	k.mu.Lock()
	for first := range k.open {
		if first <= footer.Last {
			delete(k.open, first)
		}
	}
	k.mu.Unlock()
	k.uploaded(fi.Size())
	k.publish(at)
	k.Logger.Debug().Str("event", "archived").Str("object", key).Uint64("last", footer.Last).Int64("bytes", fi.Size()).Send()
	return k.stillOwner(ctx)
}

// isThere checks that the existing object of a segment is the file f: then a put whose answer was
// lost made it.
func (k *Keeper) isThere(ctx context.Context, key string, f *os.File, size int64) error {
	o, err := k.Bucket.Stat(ctx, key)
	if err != nil {
		return err
	}
	same, err := k.same(ctx, key, o.Size, f, size)
	if err == nil && !same {
		err = fmt.Errorf("%s %w: the object is there and is not the segment here; name another prefix", objectPath(k.Bucket, key), ErrDiverged)
	}
	return err
}

// same reports whether an object has the same bytes as f.
func (k *Keeper) same(ctx context.Context, key string, size int64, f *os.File, fileSize int64) (bool, error) {
	if size != fileSize {
		return false, nil
	}
	s := &stream{ctx: ctx, b: k.Bucket, size: size, pieces: []piece{{key: key, size: size}}}
	defer s.Close()
	return sameBytes(s, f, size)
}

func sameBytes(a, b io.ReaderAt, size int64) (bool, error) {
	x, y := make([]byte, copyBuffer), make([]byte, copyBuffer)
	for at := int64(0); at < size; at += copyBuffer {
		n := min(size-at, copyBuffer)
		if _, err := a.ReadAt(x[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if _, err := b.ReadAt(y[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// putIncrements uploads the new batches of a segment that is not sealed, a few at a time.
func (k *Keeper) putIncrements(ctx context.Context, s *segment.File) error {
	done := k.open[s.First]
	if s.Empty() || done.End >= s.End {
		return nil
	}
	f, err := segment.OpenRegular(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	from := chainAt{path: s.Path, off: done.End, next: done.Last + 1, sum: done.Sum}
	if done.End == 0 {
		if from, err = checkHeader(f, s.Path, s.First); err != nil {
			return err
		}
	}
	for begin := done.End; from.off < s.End; begin = from.off {
		if err := from.check(f, s.End, incrementMax, nil); err != nil {
			return fmt.Errorf("%w; run `tcp-log-server fsck %s`", err, k.Dirs.Data)
		}
		i := Increment{First: s.First, Offset: begin, End: from.off, Last: from.next - 1, Sum: from.sum}
		size := i.End - i.Offset
		err := k.Bucket.Put(ctx, i.Key(), io.NewSectionReader(f, i.Offset, size), size, false)
		if err != nil {
			return fmt.Errorf("put %s: %w", objectPath(k.Bucket, i.Key()), err)
		}
		k.mu.Lock()
		k.open[s.First] = i
		k.mu.Unlock()
		k.obsolete = append(k.obsolete, i) // once the sealed segment is there
		k.uploaded(size)
		k.publish(from.time)
	}
	return nil
}

// clear deletes the increments of segments that the bucket has sealed. A failed deletion is
// repeated in a later round.
func (k *Keeper) clear(ctx context.Context) {
	var kept []Increment
	for _, i := range k.obsolete {
		if i.First > k.sealedEnd || k.Bucket.Delete(ctx, i.Key()) != nil {
			kept = append(kept, i)
		}
	}
	k.obsolete = kept
}

// readEpoch returns the content of the log's EPOCH.
func (k *Keeper) readEpoch() (string, error) {
	text, err := os.ReadFile(filepath.Join(k.Dirs.Data, epochKey))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(text), err
}

// putEpoch uploads EPOCH if it has changed, before any entry of the new epoch.
func (k *Keeper) putEpoch(ctx context.Context) error {
	text, err := k.readEpoch()
	if err != nil || text == k.epoch || text == "" {
		return err
	}
	if err := k.put(ctx, epochKey, []byte(text), false); err != nil {
		return err
	}
	k.epoch = text
	return nil
}

// nextIndex returns the first and the last index of the first index file that the bucket lacks.
func (k *Keeper) nextIndex() (first, last uint64) {
	for k.index[k.indexNext] {
		k.indexNext += segment.RecordsPerFile
	}
	return k.indexNext, k.indexNext + segment.RecordsPerFile - 1
}

// indexDue reports whether there is an index file to upload: a full one whose entries the bucket
// has.
func (k *Keeper) indexDue() bool {
	first, last := k.nextIndex()
	if k.Dirs.WAL == segment.Memory || last > k.through() {
		return false
	}
	path, _, _ := segment.RecordPath(k.Dirs.WAL, first)
	fi, err := os.Lstat(path)
	return err == nil && fi.Size() == segment.RecordFileSize
}

// putIndex uploads the index files that are due.
func (k *Keeper) putIndex(ctx context.Context) error {
	for k.indexDue() {
		if k.isStopping() {
			return errStopping
		}
		first, _ := k.nextIndex()
		path, _, _ := segment.RecordPath(k.Dirs.WAL, first)
		b, err := os.ReadFile(path)
		if err == nil && len(b) != segment.RecordFileSize {
			err = fmt.Errorf("%w: %s has %d bytes, want %d", ErrDamaged, path, len(b), segment.RecordFileSize)
		}
		if err == nil {
			err = segment.ParseRecords(b, first, func(index uint64, _ segment.Record, err error) error {
				if err != nil {
					err = fmt.Errorf("%s, index %d: %w; run `tcp-log-server fsck %s`", path, index, err, k.Dirs.Data)
				}
				return err
			})
		}
		if err != nil {
			return err
		}
		if err := k.put(ctx, IndexKey(first), b, false); err != nil {
			return err
		}
		k.index[first] = true
		k.uploaded(int64(len(b)))
	}
	return nil
}
