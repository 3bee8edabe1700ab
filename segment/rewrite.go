package segment

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// RepairName is the file, in any directory of the store, in which a rewritten file is
// prepared before it replaces the old one. One that is found is a leftover.
const RepairName = "repair.tmp"

// Rewriter rewrites a segment from batches that were in it, that have been reassembled, or
// that stand for lost entries. It is for repairs: the entries have been durable before. Not
// for concurrent use.
//
// The batches are encoded as a Writer would: each follows the one before, and its synced
// offset is its own. So a batch that has the same entries, time and predecessor as before is
// identical to the byte.
type Rewriter struct {
	f    *os.File // nil if nothing is written
	w    *bufio.Writer
	h    Header
	last uint64
	end  int64
	sum  uint32
	rows []Row
}

// NewRewriter begins a segment with header h in the file at path, which it creates or
// truncates. Without a path nothing is written, but everything is counted.
func NewRewriter(path string, h Header) (*Rewriter, error) {
	w := &Rewriter{h: h, last: h.First - 1, end: HeaderSize}
	var out io.Writer = io.Discard
	if path != "" {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
		if err != nil {
			return nil, err
		}
		w.f, out = f, f
	}
	w.w = bufio.NewWriterSize(out, 1<<20)
	b := h.appendTo(nil)
	w.sum = Checksum(b[:60])
	_, err := w.w.Write(b)
	return w, err
}

// Last returns the index of the last entry so far, and Sum the checksum of the last batch, or
// of the header.
func (w *Rewriter) Last() uint64 { return w.last }
func (w *Rewriter) Sum() uint32  { return w.sum }

// Add writes a batch of count entries, each followed by a newline, that were committed at
// time, in µs since 1970 UTC.
func (w *Rewriter) Add(count uint32, time int64, entries []byte) error {
	if w.end+BatchHeaderSize+int64(len(entries)) > math.MaxUint32 || w.last+uint64(count)-w.h.First >= math.MaxUint32 {
		return fmt.Errorf("segment from index %d would be larger than a segment can be", w.h.First)
	}
	h := BatchHeader{
		Size: uint32(len(entries)), First: w.last + 1, Count: count, Prev: w.sum,
		Time: time, Synced: uint64(w.end), Body: Checksum(entries),
	}
	var b [BatchHeaderSize]byte
	h.put(b[:])
	w.rows = append(w.rows, Row{Delta: uint32(h.First - w.h.First), Offset: uint32(w.end)})
	w.last, w.sum = h.Last(), h.Sum
	w.end += BatchHeaderSize + int64(len(entries))
	if _, err := w.w.Write(b[:]); err != nil {
		return err
	}
	_, err := w.w.Write(entries)
	return err
}

// AppendBatch appends to dst the batch of header h with the given entries, each followed by a
// newline. It sets the fields of h that follow from others: Size, Body and Sum.
func AppendBatch(dst []byte, h *BatchHeader, entries []byte) []byte {
	h.Size, h.Body = uint32(len(entries)), Checksum(entries)
	var b [BatchHeaderSize]byte
	h.put(b[:])
	return append(append(dst, b[:]...), entries...)
}

// Lose writes a batch that stands for the lost entries through last.
func (w *Rewriter) Lose(last uint64, time int64) error {
	count := last - w.last
	if count > math.MaxUint32 {
		return fmt.Errorf("entries %d to %d are more than a segment can hold", w.last+1, last)
	}
	return w.Add(uint32(count), time, nil)
}

// Seal ends the segment with its table and footer. If chained, next is the checksum that the
// following segment refers to: it says which segment this one stands for, and stays in the
// footer beside the current checksum of the last batch.
func (w *Rewriter) Seal(next uint32, chained bool) error {
	var b []byte
	for _, r := range w.rows {
		b = AppendRow(b, r)
	}
	f := Footer{
		Table: uint64(w.end), First: w.h.First, Last: w.last,
		Batches: uint32(len(w.rows)), Sum: w.sum, Rows: Checksum(b),
	}
	if chained && next != w.sum {
		f.Sum, f.Repaired, f.Own = next, true, w.sum
	}
	_, err := w.w.Write(f.appendTo(b))
	return err
}

// Close makes what was written durable and closes the file.
func (w *Rewriter) Close() error {
	err := w.w.Flush()
	if w.f == nil {
		return err
	}
	if err == nil {
		err = w.f.Sync()
	}
	if cerr := w.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// WriteRecords writes the index file that begins with the record of first, durably, at path.
// It writes the same bytes as tidwall/wal: see recordStride.
func WriteRecords(path string, first uint64, recs []Record) error {
	b := make([]byte, 0, len(recs)*recordStride)
	for i, r := range recs {
		b = append(b, RecordSize)
		b = r.appendTo(b, first+uint64(i))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// RecordPath returns the index file in dir that holds the record of index, the first index of
// that file, and the record's offset in it.
func RecordPath(dir string, index uint64) (path string, first uint64, off int64) {
	first, off = recordPlace(index)
	return filepath.Join(dir, recordFile(first)), first, off
}

// RecordCount returns how many whole records fit into a file of size bytes, and the number of
// bytes beyond them.
func RecordCount(size int64) (n int, rest int64) {
	return int(size / recordStride), size % recordStride
}
