package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zeebo/blake3"

	"tcp-log-server/canonical"
	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// verifier checks the segments of an archive in order: every byte of them, that they are one chain,
// and each entry against the index files. Its memory use does not depend on their number.
type verifier struct {
	ctx   context.Context
	store segment.StoreID
	find  func(fsck.Finding)
	path  func(key string) string // how findings name an object
	index *indexFiles
	// through is the last entry of the digest.
	through uint64

	next  uint64 // index of the next entry
	sum   uint32 // checksum that the next segment follows, if known is set
	known bool

	digest        *blake3.Hasher
	partial       bool // the digest lacks an entry
	time          int64
	entries       uint64 // verified
	damaged, lost uint64
}

func newVerifier(ctx context.Context, store segment.StoreID, index *indexFiles, path func(string) string, find func(fsck.Finding)) *verifier {
	return &verifier{ctx: ctx, store: store, index: index, path: path, find: find, next: 1, known: true, digest: blake3.New()}
}

// sumText is the digest in hex, "" if it lacks an entry.
func (v *verifier) sumText() string {
	if v.partial {
		return ""
	}
	return hex.EncodeToString(v.digest.Sum(nil))
}

// bad makes a finding about the object with the byte at offset of the part p.
func (v *verifier) bad(kind fsck.Kind, p part, offset int64, first, last uint64, err error) {
	v.find(fsck.Finding{Kind: kind, File: v.path(p.keyAt(offset)), Offset: offset, First: first, Last: last, Message: err.Error()})
}

// missing counts the entries from the next one through last as damaged.
func (v *verifier) missing(last uint64) {
	if last < v.next {
		return
	}
	v.damaged += last - v.next + 1
	v.partial = v.partial || v.next <= v.through
	v.next, v.known = last+1, false
}

// follows reports whether the segment begins at the next entry or later. Both a gap and an overlap
// are findings.
func (v *verifier) follows(p part) bool {
	if p.first > v.next {
		v.find(fsck.Finding{Kind: fsck.SegmentGap, File: v.path(SegmentKey(v.next)), First: v.next, Last: p.first - 1,
			Message: fmt.Sprintf("no object holds these entries: %s begins at %d", p.key(), p.first)})
		v.missing(p.first - 1)
	}
	if p.first < v.next {
		v.bad(fsck.SegmentOverlap, p, 0, p.first, v.next-1, fmt.Errorf("begins at index %d, and the segment before it ends at %d", p.first, v.next-1))
		return false
	}
	return true
}

// part checks the segment in r. Its error is that of reading r.
func (v *verifier) part(p part, r io.ReaderAt) error {
	if !v.follows(p) {
		return nil
	}
	sum, err := v.header(p, r)
	if err != nil {
		return err
	}
	end := p.size
	var footer segment.Footer
	whole := false
	if p.sealed() {
		if footer, whole, err = v.footer(p, r); err != nil {
			return err
		}
		if whole {
			end = int64(footer.Table)
		}
	}
	var rows []segment.Row
	walked, err := segment.Walk(r, p.first, sum.sum, sum.known, end, func(piece segment.Piece) error {
		if piece.Damage == nil {
			rows = append(rows, segment.Row{Delta: uint32(piece.First - p.first), Offset: uint32(piece.Offset)})
		}
		v.piece(p, piece)
		return v.ctx.Err()
	})
	if err != nil {
		return err
	}
	return v.end(p, r, walked, rows, footer, whole)
}

// headerSum is the checksum that the first batch of a segment follows, if known.
type headerSum struct {
	sum   uint32
	known bool
}

func (v *verifier) header(p part, r io.ReaderAt) (sum headerSum, err error) {
	b := make([]byte, segment.HeaderSize)
	if n, err := r.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return sum, err
	}
	h, err := segment.ParseHeader(b)
	switch {
	case err != nil:
		v.bad(fsck.SegmentHeader, p, 0, p.first, 0, err)
		return sum, nil
	case h.Store != v.store:
		v.bad(fsck.Foreign, p, 0, p.first, 0, fmt.Errorf("segment belongs to store %s, want %s", h.Store, v.store))
	case h.First != p.first:
		v.bad(fsck.SegmentHeader, p, 0, p.first, 0, fmt.Errorf("header has first index %d, the name says %d", h.First, p.first))
	case v.known && h.Prev != v.sum:
		v.bad(fsck.SegmentChain, p, 0, p.first, 0, fmt.Errorf("follows checksum %08x, want %08x: that of the segment before it", h.Prev, v.sum))
	}
	return headerSum{segment.Checksum(b[:60]), true}, nil
}

// footer reads the footer of a sealed segment; whole is false if it is damaged.
func (v *verifier) footer(p part, r io.ReaderAt) (f segment.Footer, whole bool, err error) {
	if p.size < segment.HeaderSize+segment.FooterSize {
		v.bad(fsck.SegmentTable, p, 0, p.first, 0, fmt.Errorf("has %d bytes and cannot be a sealed segment", p.size))
		return f, false, nil
	}
	b := make([]byte, segment.FooterSize)
	if _, err := r.ReadAt(b, p.size-segment.FooterSize); err != nil && !errors.Is(err, io.EOF) {
		return f, false, err
	}
	f, ok, err := segment.ParseFooter(b, p.size)
	if err == nil && !ok {
		err = errors.New("does not end with a footer")
	}
	if err == nil && f.First != p.first {
		err = fmt.Errorf("footer has first index %d, the name says %d", f.First, p.first)
	}
	if err != nil {
		v.bad(fsck.SegmentTable, p, p.size-segment.FooterSize, p.first, 0, err)
		return f, false, nil
	}
	return f, true, nil
}

// piece checks a batch, or reports the damage in its place.
func (v *verifier) piece(p part, piece segment.Piece) {
	if piece.Fault != nil {
		v.bad(fsck.SegmentChain, p, piece.Offset, piece.First, piece.Last, piece.Fault)
	}
	switch {
	case piece.Damage != nil:
		v.bad(fsck.BatchDamaged, p, piece.Offset, piece.First, piece.Last, piece.Damage)
		v.missing(piece.Last)
	case piece.Lost:
		v.find(fsck.Finding{Kind: fsck.EntryLost, File: v.path(p.keyAt(piece.Offset)), Offset: piece.Offset, First: piece.First, Last: piece.Last, Message: "recorded as lost"})
		v.lost += piece.Last - piece.First + 1
		for ; v.next <= piece.Last; v.next++ {
			v.hashed(segment.Hash{})
		}
	default:
		v.batch(p, piece)
	}
	v.time = max(v.time, piece.Time)
}

// hashed adds the hash of the next entry to the digest.
func (v *verifier) hashed(h segment.Hash) {
	if v.next <= v.through {
		v.digest.Write(h[:])
	}
}

// wrong counts the next entry as damaged.
func (v *verifier) wrong() {
	v.damaged++
	v.partial = v.partial || v.next <= v.through
}

// batch checks the entries of a batch whose checksum is correct.
func (v *verifier) batch(p part, piece segment.Piece) {
	body := piece.Entries
	for ; v.next <= piece.Last; v.next++ {
		n := bytes.IndexByte(body, '\n')
		if n < 0 {
			v.bad(fsck.BatchDamaged, p, piece.Offset, v.next, piece.Last, errors.New("batch has fewer entries than its header says"))
			v.missing(piece.Last)
			return
		}
		entry := body[:n]
		body = body[n+1:]
		hash := segment.Sum(entry)
		rec, ok := v.index.at(v, v.next)
		switch {
		case !ok:
			if err := canonical.CheckStored(entry); err != nil {
				v.bad(fsck.NotCanonical, p, piece.Offset, v.next, v.next, err)
				v.wrong()
			}
		case rec.Lost(): // a repair gave up an entry that the archive still has
		case rec.Hash != hash, rec.Size != uint32(n), rec.Time != piece.Time:
			v.find(fsck.Finding{Kind: fsck.RecordMismatch, File: v.path(v.index.key()), First: v.next, Last: v.next, Want: hash.String(), Got: rec.Hash.String(),
				Message: fmt.Sprintf("the record is not that of the entry in %s", p.keyAt(piece.Offset))})
			v.wrong()
		}
		v.hashed(hash)
		v.entries++
	}
	if len(body) > 0 {
		v.bad(fsck.BatchDamaged, p, piece.Offset, piece.First, piece.Last, errors.New("batch has more entries than its header says"))
	}
}

// end checks the end of the batches and what follows.
func (v *verifier) end(p part, r io.ReaderAt, walked segment.Walked, rows []segment.Row, footer segment.Footer, whole bool) error {
	if !p.sealed() {
		if walked.End != p.size || walked.Last != p.last || walked.Sum != p.sum {
			v.bad(fsck.BatchDamaged, p, walked.End, walked.Last+1, max(p.last, walked.Last+1),
				fmt.Errorf("batches end at offset %d and index %d with checksum %08x, the names say %d, %d and %08x", walked.End, walked.Last, walked.Sum, p.size, p.last, p.sum))
			v.missing(p.last)
		}
		v.sum, v.known = walked.Sum, true
		return nil
	}
	if !whole {
		v.missing(p.last)
		v.sum, v.known = walked.Sum, false
		return nil
	}
	if walked.Last != footer.Last || walked.End != int64(footer.Table) || walked.Sum != footer.Chain() {
		v.bad(fsck.BatchDamaged, p, walked.End, walked.Last+1, max(footer.Last, walked.Last+1),
			fmt.Errorf("batches end at offset %d and index %d with checksum %08x, the footer says %d, %d and %08x", walked.End, walked.Last, walked.Sum, footer.Table, footer.Last, footer.Chain()))
		v.missing(footer.Last)
	}
	v.sum, v.known = footer.Sum, true
	table := make([]byte, p.size-segment.FooterSize-int64(footer.Table))
	if _, err := r.ReadAt(table, int64(footer.Table)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if got := segment.Checksum(table); got != footer.Rows {
		v.bad(fsck.SegmentTable, p, int64(footer.Table), 0, 0, fmt.Errorf("table checksum is %08x, want %08x", got, footer.Rows))
		return nil
	}
	found := make([]segment.Row, 0, footer.Batches)
	for b := table; len(b) >= segment.RowSize; b = b[segment.RowSize:] {
		found = append(found, segment.ParseRow(b))
	}
	if !slices.Equal(found, rows) && walked.Batches == int(footer.Batches) {
		v.bad(fsck.SegmentTable, p, int64(footer.Table), 0, 0, errors.New("the table does not say where the batches are"))
	}
	return nil
}

// indexFiles are the index files of an archive. One at a time is in memory.
type indexFiles struct {
	has  func(first uint64) bool
	read func(first uint64) ([]byte, error)
	// use, unless nil, gets each undamaged file.
	use func(first uint64, content []byte) error

	first uint64           // of the file in recs
	recs  []segment.Record // nil if it is unusable
	bad   map[int]bool     // damaged records
	err   error            // from read or use
}

// key is the key of the file in memory.
func (x *indexFiles) key() string { return IndexKey(x.first) }

// at returns the record of index, if there is an undamaged one.
func (x *indexFiles) at(v *verifier, index uint64) (rec segment.Record, ok bool) {
	if first := index - (index-1)%segment.RecordsPerFile; first != x.first {
		x.first, x.recs, x.bad = first, nil, nil
		if x.has(first) && x.err == nil {
			x.load(v)
		}
	}
	i := int(index - x.first)
	if i >= len(x.recs) || x.bad[i] {
		return rec, false
	}
	return x.recs[i], true
}

// load reads and checks the file that begins with x.first.
func (x *indexFiles) load(v *verifier) {
	b, err := x.read(x.first)
	switch {
	case damaged(err):
		v.find(fsck.Finding{Kind: fsck.IndexFile, File: v.path(x.key()), First: x.first, Last: x.first + segment.RecordsPerFile - 1, Message: err.Error()})
		return
	case err != nil:
		x.err = err
		return
	case len(b) != segment.RecordFileSize:
		v.find(fsck.Finding{Kind: fsck.IndexFile, File: v.path(x.key()), First: x.first, Last: x.first + segment.RecordsPerFile - 1,
			Message: fmt.Sprintf("has %d bytes, want %d", len(b), segment.RecordFileSize)})
		return
	}
	_ = segment.ParseRecords(b, x.first, func(index uint64, r segment.Record, err error) error {
		if err != nil {
			if x.bad == nil {
				x.bad = make(map[int]bool)
			}
			x.bad[len(x.recs)] = true
			v.find(fsck.Finding{Kind: fsck.RecordDamaged, File: v.path(x.key()), First: index, Last: index, Message: err.Error()})
		}
		x.recs = append(x.recs, r)
		return nil
	})
	if x.use != nil && len(x.bad) == 0 {
		x.err = x.use(x.first, b)
	}
}
