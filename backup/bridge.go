package backup

import (
	"fmt"
	"path/filepath"

	"tcp-log-server/segment"
)

// bridgeSize is the size in bytes at which a bridge segment is sealed.
const bridgeSize = 64 << 20

// bridge closes a gap: since the earlier backup, the source has removed segments of which the
// backup has only a part, or nothing. The new set of segments then begins after the end of the old
// index. Replacing the segments and extending the index, in either order, would leave an incomplete
// log in between.
//
// So there are three steps. First, bridge packs the entries from the end of the old index to the
// new head into segments of its own, from blobs and from the staged segments, and exchanges the old
// set for them: that is the commit point. Then it extends the index. Last, its caller exchanges the
// bridge for the staged segments.
func (b *backup) bridge() error {
	src, d := b.src, b.dest
	first := src.segs[0].First
	if !d.whole || d.records+1 >= first || len(b.leading()) > 0 {
		return nil
	}
	dir := d.in("bridge")
	if err := segment.MakeDir(dir); err != nil {
		return err
	}
	if err := b.step("bridge"); err != nil {
		return err
	}
	w := &bridger{dir: dir, header: segment.Header{Store: src.id, First: d.records + 1, Created: src.segs[0].Header.Created}}
	if err := b.pack(w, first); err != nil {
		return fmt.Errorf("pack the entries since the earlier backup: %w", err)
	}
	if err := b.sync(dir, d.in("")); err != nil {
		return err
	}
	if err := b.swap("bridge commit", dir); err != nil {
		return err
	}
	return b.putIndex()
}

// pack packs all entries from w's first on. Those before the index first come from their blobs,
// which are verified as they are read, the others from the staged segments.
func (b *backup) pack(w *bridger, first uint64) error {
	records := segment.NewRecords(b.src.wal, b.src.records)
	defer records.Close()
	var body []byte
	var count uint32
	var time int64
	flush := func() error {
		if count == 0 {
			return nil
		}
		err := w.add(count, time, body)
		body, count = body[:0], 0
		return err
	}
	for index := w.header.First; index < first; index++ {
		rec, err := records.At(index)
		if err != nil {
			return err
		}
		if rec.Lost() || rec.Time != time || len(body) > 1<<20 {
			if err := flush(); err != nil {
				return err
			}
		}
		if rec.Lost() {
			if err := w.add(1, rec.Time, nil); err != nil {
				return err
			}
			continue
		}
		entry, err := segment.ReadBlob(b.ctx, segment.BlobsIn(b.dest.blobs()), rec)
		if err != nil {
			return err
		}
		body, count, time = append(append(body, entry...), '\n'), count+1, rec.Time
	}
	if err := flush(); err != nil {
		return err
	}
	for _, q := range b.src.segs {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if err := w.addAll(filepath.Join(b.dest.staged(), segment.Name(q.First)), q.End); err != nil {
			return err
		}
	}
	return w.seal()
}

// bridger writes a chain of segments.
type bridger struct {
	dir    string
	header segment.Header // of the current or the next segment
	w      *segment.Rewriter
	size   int
}

// add adds a batch; a lost entry has count 1 and no entries.
func (w *bridger) add(count uint32, time int64, entries []byte) (err error) {
	if w.w == nil {
		if w.w, err = segment.NewRewriter(filepath.Join(w.dir, segment.Name(w.header.First)), w.header); err != nil {
			return err
		}
	}
	if err := w.w.Add(count, time, entries); err != nil {
		return err
	}
	if w.size += segment.BatchHeaderSize + len(entries); w.size >= bridgeSize {
		return w.seal()
	}
	return nil
}

// addAll adds the batches of the segment at path, up to the offset end.
func (w *bridger) addAll(path string, end int64) error {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = segment.ScanBatches(f, path, end, func(_ int64, h segment.BatchHeader, body []byte) error {
		return w.add(h.Count, h.Time, body)
	})
	return err
}

// seal seals the current segment, if there is one.
func (w *bridger) seal() error {
	if w.w == nil {
		return nil
	}
	err := w.w.Seal(0, false)
	if cerr := w.w.Close(); err == nil {
		err = cerr
	}
	w.header.First, w.header.Prev = w.w.Last()+1, w.w.Sum()
	w.w, w.size = nil, 0
	return err
}
