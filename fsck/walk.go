package fsck

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/zeebo/blake3"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// walker goes through the log in the order of the indices, makes the findings on its
// entries, and computes the digest.
type walker struct {
	*checker
	blobs *blobSet

	next    uint64 // the next index
	digest  *blake3.Hasher
	unknown bool // the hash of some entry is not known
	pending *Finding
	shards  map[string]*group // missing directories of blobs
}

// run walks the log.
func (w *walker) run() error {
	w.next, w.digest, w.shards = 1, blake3.New(), map[string]*group{}
	w.loose(w.first - 1)
	p := w.start()
	defer p.running.Wait()
	for k := range p.ordered {
		<-k.done
		w.chunk(k, p)
		w.advance("log", k.bytes, p.size)
		p.recycle(k)
		if w.ctx.Err() != nil {
			return w.ctx.Err()
		}
	}
	w.flush()
	for _, shard := range slices.Sorted(maps.Keys(w.shards)) {
		w.flushShard(shard)
	}
	if w.next <= max(w.head, w.index.before, w.index.Last) {
		w.unknown = true // no segment reaches the head
	}
	if n := len(w.segs); n == 0 || !w.segs[n-1].HeaderOK {
		w.unknown = true // there may have been more entries than are left
	}
	w.sum.Through = w.Through
	if w.brokenDigest(); !w.partial {
		w.sum.Digest = fmt.Sprintf("%x", w.digest.Sum(nil))
	}
	return w.ctx.Err()
}

// hash counts the entry at w.next, whose hash is known, and advances.
func (w *walker) hash(hash segment.Hash) { w.count(hash, hash) }

// count counts the entry at w.next and advances. Lookup tables have known, unless that is
// zero.
func (w *walker) count(hash, known segment.Hash) {
	if w.next <= w.Through {
		w.digest.Write(hash[:])
	}
	w.tableEntry(w.next, known)
	w.next++
}

// lost counts the entry at w.next, which is recorded as lost: in the segment or, without
// one, in the index. rec is its record, if there is one: an intact blob makes up for the
// loss.
func (w *walker) lost(s *checkedSegment, offset int64, rec segment.Record) {
	if rec.Hash != (segment.Hash{}) && w.blobs.referLost(rec.Hash, w.next) && !rec.Lost() {
		w.hash(rec.Hash)
		return
	}
	w.sum.Lost++
	file, first, _ := segment.RecordPath(w.WAL, w.next)
	if s != nil {
		file = s.Path
		w.plan.Lost[s.First]++
	} else {
		w.plan.LostFiles[first] = true
	}
	w.extend(Finding{Kind: EntryLost, File: file, Offset: offset, First: w.next, Last: w.next, Message: "recorded as lost: reads of it return an error"})
	known := rec.Hash
	if rec.Lost() {
		known = segment.Hash{} // at best the former hash
	}
	w.count(segment.Hash{}, known)
}

// damaged counts the entries from w.next through last as unreadable.
func (w *walker) damaged(last uint64) {
	if last >= w.next {
		w.sum.Damaged += last - w.next + 1
		w.skip(last)
	}
}

// skip continues after last: the hashes of the entries through last are not known.
func (w *walker) skip(last uint64) {
	w.brokenDigest()
	w.unknown = true
	w.next = last + 1
}

// extend combines findings on adjacent entries into one.
func (w *walker) extend(f Finding) {
	if p := w.pending; p != nil {
		if p.Kind == f.Kind && p.File == f.File && p.Last+1 == f.First && p.Want == f.Want {
			p.Last = f.Last
			return
		}
		w.flush()
	}
	w.pending = &f
}

// flush makes the finding that extend has collected.
func (w *walker) flush() {
	if w.pending != nil {
		w.find(*w.pending)
		w.pending = nil
	}
}

// loose goes through the entries through last, which no segment holds: each has a record
// and a blob.
func (w *walker) loose(last uint64) {
	for w.next <= last && w.ctx.Err() == nil {
		if w.next > w.index.Last {
			w.damaged(last) // reported for the index
			return
		}
		rec, err := w.index.At(w.next)
		switch {
		case err != nil:
			w.badRecord(err)
			w.damaged(w.next)
		case rec.Lost():
			_, _, off := segment.RecordPath(w.WAL, w.next)
			w.lost(nil, off, rec)
		default:
			w.looseEntry(rec)
		}
	}
}

// badRecord makes the finding that the record of w.next cannot be used.
func (w *walker) badRecord(err error) {
	if errors.Is(err, segment.ErrNotFound) {
		return // reported for the file
	}
	if ok, _ := w.archived.Holds(w.next, w.next); ok {
		w.plan.Archive = w.archived.URL
	}
	path, first, off := segment.RecordPath(w.WAL, w.next)
	if w.index.unreadable[first] != nil {
		return // reported for the file
	}
	w.plan.Records[first] = true
	kind := Unreadable
	var d *segment.DamageError
	if errors.As(err, &d) {
		kind, err = RecordDamaged, d.Err
	}
	w.extend(Finding{Kind: kind, File: path, Offset: off, First: w.next, Last: w.next, Message: err.Error()})
}

// looseEntry checks the blob of the entry at w.next, whose record is rec.
func (w *walker) looseEntry(rec segment.Record) {
	b, whole := w.blobs.refer(rec.Hash, rec.Size, w.next, true)
	if b == nil {
		// It may have been made since the blobs were listed.
		_, err := segment.ReadBlob(w.ctx, w.store, rec)
		if whole = err == nil; errors.Is(err, segment.ErrUnavailable) {
			w.stop(err)
		}
	}
	switch archived, _ := w.archived.Holds(w.next, w.next); {
	case whole:
	case b == nil && archived:
		w.sum.Archived++
		w.sum.Archive = w.archived.URL
	default:
		if b == nil {
			w.missing(rec.Hash)
		}
		w.sum.Damaged++
		w.brokenDigest()
	}
	w.hash(rec.Hash)
}

// brokenDigest notes that the digest lacks the entry at w.next.
func (w *walker) brokenDigest() {
	if w.next <= w.Through {
		w.partial = true
	}
}

// chunk goes through a chunk of a segment.
func (w *walker) chunk(k *chunk, p *pipeline) {
	at := 0
	for _, t := range k.stretches {
		n := t.count()
		hashes, sizes := k.hashes[at:at+n], k.sizes[at:at+n]
		at += n
		switch {
		case t.Last < w.next:
			if t.Damage != nil {
				w.damage(k.seg, t) // surplus bytes
			}
		case t.missing:
			// The server added the records before it removed the segment.
			before := w.index.before
			w.index.Close()
			w.index = w.listIndex()
			w.index.before = before
			if note, err := segment.ReadArchived(w.Data); err == nil {
				w.archived = note
			}
			w.loose(t.Last)
		case t.Damage != nil:
			w.damage(k.seg, t)
		case t.unread:
			w.unread(k.seg, t.Last)
		case t.Lost:
			for w.next <= t.Last && w.ctx.Err() == nil {
				rec := segment.Record{}
				if w.next <= w.index.Last {
					var err error
					if rec, err = w.index.At(w.next); err != nil {
						w.badRecord(err)
					}
				}
				w.lost(k.seg, t.Offset, rec)
			}
		default:
			w.batch(k.seg, t, hashes, sizes)
		}
	}
}

// batch goes through the entries of an intact batch.
func (w *walker) batch(s *checkedSegment, t stretch, hashes []segment.Hash, sizes []uint32) {
	if errors.Is(t.bad, segment.ErrDamaged) {
		w.fault(s, Finding{Kind: BatchDamaged, Offset: t.Offset, First: t.First, Last: t.Last, Message: t.bad.Error()})
		w.damaged(t.Last)
		return
	} else if t.bad != nil {
		w.find(Finding{Kind: NotCanonical, File: s.Path, Offset: t.Offset, First: t.First, Last: t.Last, Message: t.bad.Error()})
	}
	for i := w.next - t.First; w.next <= t.Last; i++ {
		w.entry(s, t, hashes[i], sizes[i])
	}
}

// entry compares the entry at w.next, which is in a segment, with its record, and looks
// for its blob.
func (w *walker) entry(s *checkedSegment, t stretch, hash segment.Hash, size uint32) {
	if w.next <= w.index.Last {
		rec, err := w.index.At(w.next)
		if err != nil {
			w.badRecord(err)
		} else if rec.Hash != hash || rec.Size != size || rec.Time != t.Time {
			path, first, off := segment.RecordPath(w.WAL, w.next)
			w.plan.Records[first] = true
			w.find(Finding{Kind: RecordMismatch, File: path, Offset: off, First: w.next, Last: w.next, Want: hash.String(), Got: rec.Hash.String(),
				Message: fmt.Sprintf("the record is of %d bytes from %d µs, %s has %d bytes from %d µs", rec.Size, rec.Time, s.Path, size, t.Time)})
		}
	}
	w.seeBlob(s, hash, size)
	w.hash(hash)
}

// unread goes through the entries through last, reading only their records.
func (w *walker) unread(s *checkedSegment, last uint64) {
	for w.next <= last && w.ctx.Err() == nil {
		rec, err := w.index.At(w.next)
		switch {
		case err == nil && !rec.Lost():
			w.seeBlob(s, rec.Hash, rec.Size)
			w.hash(rec.Hash)
		case w.next > w.index.Last:
			w.skip(last)
		default:
			if err != nil {
				w.badRecord(err)
			}
			w.skip(w.next)
		}
	}
}

// damage makes the finding on entries that are not in an intact batch. Two witnesses may
// still prove some of them: the hash in the index, and bytes in the segment or a blob
// that match it.
func (w *walker) damage(s *checkedSegment, t stretch) {
	f := Finding{Kind: BatchDamaged, File: s.Path, Offset: t.Offset, Message: t.Damage.Error()}
	if t.gap {
		f.Kind, f.File = SegmentGap, filepath.Dir(s.Path)
	} else {
		w.plan.Rebuild(s.First)
	}
	if t.Last >= t.First {
		f.First, f.Last = t.First, t.Last
	}
	var unread repair.Ranges
	var left *segment.Salvager
	if !t.gap && t.End > t.Offset && s.Readable {
		if file, err := segment.OpenRegular(s.Path); err == nil {
			defer file.Close()
			left = segment.NewSalvager(file, t.Offset, t.End)
		}
	}
	count := uint64(0)
	for index := t.First; index <= t.Last; index++ {
		if index > w.index.Last {
			count += t.Last - index + 1
			unread.Add(index, t.Last)
			w.damaged(t.Last)
			break
		}
		rec, err := w.index.At(index)
		whole := false
		if err == nil && !rec.Lost() {
			_, whole = left.Find(rec)
			_, inBlob := w.blobs.refer(rec.Hash, rec.Size, index, !whole)
			whole = whole || inBlob
		} else {
			left.Skip()
		}
		switch {
		case index < w.next:
		case whole:
			w.hash(rec.Hash)
		default:
			if err != nil {
				w.badRecord(err)
			}
			count++
			unread.Add(index, index)
			w.damaged(index)
		}
	}
	if n := t.Last - t.First + 1; count > 0 && n > 0 {
		f.Message += fmt.Sprintf("; of %d entries %d cannot be read: %s", n, count, unread)
	} else if n > 0 {
		f.Message += "; all of its entries can still be read by the hashes in the index"
	}
	if t.gap && count == 0 {
		w.gaps = append(w.gaps, f)
		return
	}
	if t.gap {
		w.plan.Gaps[t.First] = t.Last
	}
	if !((s.Err != nil || s.HeaderErr != nil) && t.First == s.First && t.Offset == 0 && !t.gap) {
		w.find(f)
	}
}
