package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"tcp-log-server/segment"
)

// transfers is how many segments are copied at a time.
const transfers = 3

// stageSegments prepares the new set of segments: those of the source, and before them those of the
// old set that the old index still needs.
func (b *backup) stageSegments() error {
	set := make(map[string]bool)
	var links, copies []*segment.File
	for _, p := range b.leading() {
		links, set[segment.Name(p.First)] = append(links, p), true
	}
	for _, q := range b.src.segs {
		set[segment.Name(q.First)] = true
		if p, ok := b.reusable(q); ok {
			links = append(links, p)
		} else {
			copies = append(copies, q)
			b.total += size(q)
		}
	}
	entries, err := os.ReadDir(b.dest.staged())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !set[e.Name()] {
			if err := os.RemoveAll(filepath.Join(b.dest.staged(), e.Name())); err != nil {
				return err
			}
		}
	}
	for _, p := range links {
		if err := b.relink(p); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(b.ctx)
	group.SetLimit(transfers)
	for _, q := range copies {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return b.transfer(q, func(n int) {
				mu.Lock()
				defer mu.Unlock()
				b.done += int64(n)
				b.Progress(PhaseSegments, b.done, b.total)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.res.Segments = len(copies)
	return b.sync(b.dest.staged(), b.dest.in(""))
}

// leading returns the segments of the old set before the source's first that must stay,
// because the old index ends within them. If they do not reach the source's first, it returns none:
// bridge closes the gap.
func (b *backup) leading() []*segment.File {
	first := b.src.segs[0].First
	if b.dest.records+1 >= first {
		return nil
	}
	var lead []*segment.File
	for _, p := range b.dest.segs {
		if p.First < first && !p.Empty() {
			lead = append(lead, p)
		}
	}
	if n := len(lead); n == 0 || lead[n-1].Last+1 != first || lead[n-1].Sum != b.src.segs[0].Header.Prev {
		return nil
	}
	return lead
}

// reusable returns the segment of the old set with the same content as q.
func (b *backup) reusable(q *segment.File) (*segment.File, bool) {
	for _, p := range b.dest.segs {
		if p.First != q.First || p.Header != q.Header || p.Last != q.Last || p.Sum != q.Sum {
			continue
		}
		if p.Sealed && !q.Sealed || p.Sealed == q.Sealed && size(p) == size(q) && p.LastSum == q.LastSum {
			return p, true
		}
	}
	return nil, false
}

// relink links a segment of the old set into the new one.
func (b *backup) relink(p *segment.File) error {
	if err := b.step("relink"); err != nil {
		return err
	}
	to := filepath.Join(b.dest.staged(), segment.Name(p.First))
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(p.Path, to); err == nil {
		b.kept.Add(size(p))
		return nil
	}
	// The file system has no links.
	open := *p
	open.Sealed = false // so that only its batches are copied and verified
	return b.transfer(&open, func(int) {})
}

// transfer brings a segment into the staged set and verifies it: every batch, the hash of every
// entry against the index, and the table if it is sealed.
func (b *backup) transfer(q *segment.File, progress func(n int)) error {
	to := filepath.Join(b.dest.staged(), segment.Name(q.First))
	if fi, err := os.Lstat(to); err == nil && q.Sealed && fi.Size() == size(q) {
		// An interrupted run has prepared it: keep it if it verifies.
		if err := b.verify(q, to, nil, func(int) {}); err == nil {
			b.kept.Add(size(q))
			progress(int(size(q)))
			return nil
		}
	}
	if err := b.step("segment"); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if q.Sealed {
		linked, err := b.link(q.Path, to)
		if err != nil {
			return err
		}
		if linked {
			b.linked.Add(size(q))
			return b.verify(q, to, nil, progress)
		}
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	err = b.verify(q, q.Path, out, progress)
	if err == nil && syncEach {
		err = out.Sync()
	}
	b.copied.Add(size(q))
	return errors.Join(err, out.Close())
}

// tee copies a file as it is read, so that the bytes verified are the bytes written.
type tee struct {
	io.ReaderAt
	to       io.WriterAt // may be nil
	progress func(n int)
}

func (t tee) ReadAt(b []byte, off int64) (int, error) {
	n, err := t.ReaderAt.ReadAt(b, off)
	if n > 0 && t.to != nil {
		if _, err := t.to.WriteAt(b[:n], off); err != nil {
			return 0, err
		}
	}
	t.progress(n)
	return n, err
}

// verify reads and checks the segment q from the file at path, and copies it to out, unless nil, on
// the way.
func (b *backup) verify(q *segment.File, path string, out io.WriterAt, progress func(n int)) error {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tee{f, out, progress}
	check := b.newChecker()
	defer check.close()
	scan, err := segment.ScanBatches(r, path, q.End, func(_ int64, h segment.BatchHeader, body []byte) error {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		return check.batch(path, h, body)
	})
	if err != nil {
		return err
	}
	if scan.Header != q.Header || scan.End != q.End || scan.Last != q.Last || scan.Sum != q.LastSum {
		return &segment.DamageError{Path: path, Offset: scan.End, First: scan.Last + 1,
			Err: fmt.Errorf("%w: batches end at index %d with checksum %08x, want %d with %08x", segment.ErrDamaged, scan.Last, scan.Sum, q.Last, q.LastSum)}
	}
	if !q.Sealed {
		return nil
	}
	b2 := make([]byte, size(q)-q.End)
	if _, err := r.ReadAt(b2, q.End); err != nil {
		return err
	}
	table := b2[:len(b2)-segment.FooterSize]
	footer, _, err := segment.ParseFooter(b2[len(table):], size(q))
	if err == nil && segment.Checksum(table) != footer.Rows {
		err = fmt.Errorf("%w: table checksum is %08x, want %08x", segment.ErrDamaged, segment.Checksum(table), footer.Rows)
	}
	for i := range scan.Rows {
		if err == nil && segment.ParseRow(table[i*segment.RowSize:]) != scan.Rows[i] {
			err = fmt.Errorf("%w: row %d of the table is not that of its batch", segment.ErrDamaged, i)
		}
	}
	if err != nil {
		return &segment.DamageError{Path: path, Offset: q.End, First: q.First, Last: q.Last, Err: err}
	}
	return nil
}

// checker compares the entries of batches with their records in the source's index.
type checker struct {
	records *segment.Records
	lost    func(first, last uint64) error // called for lost entries
}

func (b *backup) newChecker() *checker {
	return &checker{records: segment.NewRecords(b.src.wal, b.src.records), lost: b.keepLost}
}

func (c *checker) close() { c.records.Close() }

func (c *checker) batch(path string, h segment.BatchHeader, body []byte) error {
	if h.Lost() {
		return c.lost(h.First, h.Last())
	}
	for index := h.First; index <= h.Last(); index++ {
		n := bytes.IndexByte(body, '\n')
		if n < 0 {
			return &segment.DamageError{Path: path, First: index, Last: h.Last(), Err: fmt.Errorf("%w: batch has fewer entries than its header says", segment.ErrDamaged)}
		}
		entry := body[:n]
		body = body[n+1:]
		if index > c.records.Through() {
			continue
		}
		rec, err := c.records.At(index)
		if err != nil {
			return err
		}
		if rec.Lost() {
			continue
		}
		if got := segment.Sum(entry); got != rec.Hash {
			return &segment.DamageError{Path: path, First: index, Last: index, Err: fmt.Errorf("%w: entry hashes to %s, the index has %s", segment.ErrDamaged, got, rec.Hash)}
		}
	}
	return nil
}
