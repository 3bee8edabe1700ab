package archive

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"tcp-log-server/segment"
)

// Checks of a segment's file before the upload. Unlike segment.Walk, they begin at any batch, end
// at the first error, and need no memory for a body.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chainAt is a position between two batches of a segment.
type chainAt struct {
	path string
	off  int64
	next uint64 // index of the next entry
	sum  uint32 // checksum that the next batch follows
	time int64  // of the previous batch, in µs since 1970 UTC
}

// checkHeader checks the header of the segment in f, and returns the position after it.
func checkHeader(f *os.File, path string, first uint64) (chainAt, error) {
	b := make([]byte, segment.HeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return chainAt{}, err
	}
	h, err := segment.ParseHeader(b)
	if err == nil && h.First != first {
		err = fmt.Errorf("%w: header has first index %d, want %d", segment.ErrDamaged, h.First, first)
	}
	if err != nil {
		return chainAt{}, &segment.DamageError{Path: path, Err: err}
	}
	return chainAt{path: path, off: segment.HeaderSize, next: first, sum: segment.Checksum(b[:60])}, nil
}

// check checks batches and advances past them, until they would exceed limit bytes, but at least
// one; the last batch ends at the offset end. It calls fn, unless nil, with the offset and the
// first index of each batch.
func (c *chainAt) check(f io.ReaderAt, end, limit int64, fn func(off int64, first uint64)) error {
	var head [segment.BatchHeaderSize]byte
	buf := make([]byte, copyBuffer)
	for begin := c.off; c.off < end; {
		if _, err := f.ReadAt(head[:], c.off); err != nil {
			return fmt.Errorf("%s, offset %d: %w", c.path, c.off, err)
		}
		h, err := segment.ParseBatchHeader(head[:])
		next := c.off + segment.BatchHeaderSize + int64(h.Size)
		switch {
		case err != nil:
		case h.First != c.next:
			err = fmt.Errorf("%w: batch begins at index %d, want %d", segment.ErrDamaged, h.First, c.next)
		case h.Prev != c.sum:
			err = fmt.Errorf("%w: batch follows checksum %08x, want %08x", segment.ErrDamaged, h.Prev, c.sum)
		case next > end:
			err = fmt.Errorf("%w: batch ends at offset %d, the batches at %d", segment.ErrDamaged, next, end)
		}
		if err == nil && next-begin > limit && c.off > begin {
			return nil
		}
		if err == nil {
			err = checkBody(f, c.off+segment.BatchHeaderSize, h, buf)
		}
		if err != nil {
			return &segment.DamageError{Path: c.path, Offset: c.off, First: c.next, Err: err}
		}
		if fn != nil {
			fn(c.off, h.First)
		}
		c.off, c.next, c.sum, c.time = next, h.Last()+1, h.Sum, h.Time
	}
	return nil
}

// checkBody compares the body of a batch, which begins at off, with its checksum.
func checkBody(f io.ReaderAt, off int64, h segment.BatchHeader, buf []byte) error {
	sum := uint32(0)
	for at := int64(0); at < int64(h.Size); {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), int64(h.Size)-at)], off+at)
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		at += int64(n)
	}
	if sum != h.Body {
		return fmt.Errorf("%w: batch checksum is %08x, want %08x", segment.ErrDamaged, sum, h.Body)
	}
	return nil
}

// checkSealed checks all of a sealed segment: header, batches, table and footer. at is the time of
// the last batch.
func checkSealed(f *os.File, path string, first uint64) (footer segment.Footer, at int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return footer, 0, err
	}
	size := fi.Size()
	c, err := checkHeader(f, path, first)
	if err != nil {
		return footer, 0, err
	}
	b := make([]byte, segment.FooterSize)
	if _, err := f.ReadAt(b, max(size-segment.FooterSize, 0)); err != nil {
		return footer, 0, err
	}
	wrong := func(format string, args ...any) error {
		return &segment.DamageError{Path: path, Offset: c.off, First: first, Err: fmt.Errorf("%w: "+format, append([]any{segment.ErrDamaged}, args...)...)}
	}
	footer, ok, err := segment.ParseFooter(b, size)
	if err != nil || !ok {
		return footer, 0, wrong("it does not end with a footer that fits it (%v)", err)
	}
	table := make([]byte, 0, int64(footer.Batches)*segment.RowSize)
	err = c.check(f, int64(footer.Table), size, func(off int64, index uint64) {
		table = segment.AppendRow(table, segment.Row{Delta: uint32(index - first), Offset: uint32(off)})
	})
	if err != nil {
		return footer, 0, err
	}
	found := make([]byte, size-segment.FooterSize-int64(footer.Table))
	if _, err := f.ReadAt(found, int64(footer.Table)); err != nil {
		return footer, 0, err
	}
	switch {
	case footer.First != first, footer.Last != c.next-1, footer.Chain() != c.sum:
		return footer, 0, wrong("the footer says entries %d to %d and checksum %08x, the batches %d to %d and %08x", footer.First, footer.Last, footer.Chain(), first, c.next-1, c.sum)
	case segment.Checksum(found) != footer.Rows || !bytes.Equal(found, table):
		return footer, 0, wrong("the table does not say where the batches are")
	}
	return footer, c.time, nil
}
