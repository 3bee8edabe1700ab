package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// file is the part of *os.File that a Writer needs; tests use a failing disk.
type file interface {
	WriteAt(b []byte, off int64) (int, error)
	Truncate(size int64) error
	// Datasync makes all bytes durable: fdatasync.
	Datasync() error
	// BeginWriting starts writing bytes to the disk, without waiting for it.
	BeginWriting(off, n int64)
	Close() error
}

type osFile struct{ *os.File }

func (f osFile) Datasync() error           { return fdatasync(f.File) }
func (f osFile) BeginWriting(off, n int64) { BeginWriting(f.File, off, n) }

// Writer appends batches to the open segment. It has one owner: its methods must not run
// concurrently. Readers use the Segment.
type Writer struct {
	*Segment
	f      file
	filled int64 // the file is zeros from Segment.end up to here
	full   bool  // there was no room for the last zeros, and no batch has been written since
	batch  int   // size of the last batch
	proved int64 // where a proof is, if that is Segment.end
	broken error // sticky: after it nothing more is written
}

// Resume opens for appending a segment that is not sealed and has been read, and makes its
// content durable, since bytes that a crash left in the page cache may never have reached
// the disk. If there are torn bytes after the last batch, nothing is written until Cut.
func Resume(s *Segment, torn int64) (*Writer, error) {
	f, err := openFile(s.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	w := &Writer{Segment: s, f: osFile{f}}
	if torn > 0 {
		w.broken = fmt.Errorf("%w to %s: %d bytes after the last batch have not been cut off", ErrNotWritten, filepath.Base(s.Path), torn)
	}
	fi, err := f.Stat()
	if err == nil {
		w.filled = fi.Size()
		err = fdatasync(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("resume segment %s: %w", s.Path, err)
	}
	return w, nil
}

// Cut cuts off the torn bytes that a segment had when it was resumed.
func (w *Writer) Cut() error {
	err := w.f.Truncate(w.end)
	if err == nil {
		err = w.f.Datasync()
	}
	if err != nil {
		w.broken = fmt.Errorf("%w: cut torn bytes off segment %s: %w", ErrSync, w.Path, withoutPath(err))
		return w.broken
	}
	w.filled, w.broken = w.end, nil
	return nil
}

// BatchSpec describes one of the batches that CommitAll writes.
type BatchSpec struct {
	// Size is the length of the body in bytes; 0 stands for permanently lost entries.
	Size int
	// Count is the number of entries, from 1 to 2^32 - 1.
	Count int
	// Time is when the entries were committed, in µs since 1970 UTC.
	Time int64
}

// Commit appends one batch and makes it durable: one write, one fdatasync.
//
// batch is BatchHeaderSize bytes that Commit fills in, then the body: count canonical
// entries, each with a newline. Commit does not retain it.
//
// An error wraps ErrNotWritten (nothing has changed, the next Commit may succeed) or
// ErrSync (the outcome is unknown, every later Commit fails too).
func (w *Writer) Commit(batch []byte, count int, now time.Time) error {
	parts := [1]BatchSpec{{Size: len(batch) - BatchHeaderSize, Count: count, Time: now.UnixMicro()}}
	return w.CommitAll(batch, parts[:])
}

// CommitAll is Commit for several batches, which it makes durable together: one write, one
// fdatasync. That sync is the log's commit point. Each batch in batches is as for Commit,
// in the order of parts. A crash may leave any number of them, from the first on.
func (w *Writer) CommitAll(batches []byte, parts []BatchSpec) error {
	if w.broken != nil {
		return w.broken
	}
	h := BatchHeader{First: w.last + 1, Sum: w.sum}
	rest := batches
	for _, p := range parts {
		h = BatchHeader{
			Size:   uint32(p.Size),
			First:  h.First,
			Count:  uint32(p.Count),
			Prev:   h.Sum,
			Time:   p.Time,
			Synced: uint64(w.end), // the same for all: they are written together
			Body:   Checksum(rest[BatchHeaderSize:][:p.Size]),
		}
		h.put(rest)
		h.First += uint64(p.Count)
		rest = rest[BatchHeaderSize+p.Size:]
	}
	end := w.end + int64(len(batches))
	if err := w.write(batches, w.end); err != nil {
		return w.undo(err)
	}
	if end > w.filled {
		w.filled, w.full = end, false
	}
	if err := w.f.Datasync(); err != nil {
		w.broken = fmt.Errorf("%w: %s: %w", ErrSync, w.Path, err)
		return w.broken
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range parts {
		w.rows = append(w.rows, Row{Delta: uint32(w.last + 1 - w.Header.First), Offset: uint32(w.end)})
		w.last += uint64(p.Count)
		w.end += int64(BatchHeaderSize + p.Size)
	}
	w.sum, w.batch = h.Sum, len(batches)
	return nil
}

// writePiece is how much of a long write goes to the disk while the next piece is copied
// into the page cache: then the sync has less to wait for.
const writePiece = 1 << 20

// write writes b at off.
func (w *Writer) write(b []byte, off int64) error {
	for len(b) > writePiece {
		if _, err := w.f.WriteAt(b[:writePiece], off); err != nil {
			return err
		}
		w.f.BeginWriting(off, writePiece)
		b, off = b[writePiece:], off+writePiece
	}
	_, err := w.f.WriteAt(b, off)
	return err
}

// Prove makes the segment record that its last batch is durable: it writes a header without
// entries after it, which the next batch overwrites, and syncs. Without it a last batch
// whose every byte was altered could not be distinguished from one that was never written.
// Prove does nothing if the segment says so already, or is empty.
//
// Errors are those of Commit; after ErrNotWritten there is no proof, which does no harm.
func (w *Writer) Prove() error {
	if w.broken != nil || w.proved == w.end || w.end == HeaderSize {
		return w.broken
	}
	b := proof(w.last, w.sum, w.end)
	if _, err := w.f.WriteAt(b[:], w.end); err != nil {
		return w.undo(err)
	}
	w.filled = max(w.filled, w.end+BatchHeaderSize)
	if err := w.f.Datasync(); err != nil {
		w.broken = fmt.Errorf("%w: %s: %w", ErrSync, w.Path, err)
		return w.broken
	}
	w.proved = w.end
	return nil
}

// undo cuts the file back to its last durable batch after a failed write, so that nothing
// left of a refused batch can come back.
func (w *Writer) undo(cause error) error {
	cause = withoutPath(cause)
	if err := w.f.Truncate(w.end); err != nil {
		w.broken = fmt.Errorf("%w: %s: cutting off a failed write (%v): %w", ErrSync, w.Path, cause, withoutPath(err))
		return w.broken
	}
	w.filled, w.proved = w.end, 0
	return fmt.Errorf("%w to %s: %w", ErrNotWritten, filepath.Base(w.Path), cause)
}

// withoutPath returns an error of the segment's file without its path, which is the one
// before the rename.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Room reports whether a batch of n bytes, including its header, still fits below limit. A
// segment always has room for its first batch.
func (w *Writer) Room(n int, limit int64) bool {
	return w.end == HeaderSize || w.end+int64(n) <= limit
}

// Fit returns how many of parts, from the first on, still fit below limit. A segment always
// has room for its first batch, and for no index that a row of the table cannot hold.
func (w *Writer) Fit(parts []BatchSpec, limit int64) int {
	end, last := w.end, w.last
	for i, p := range parts {
		end += int64(BatchHeaderSize + p.Size)
		last += uint64(p.Count)
		first := i == 0 && w.end == HeaderSize
		if !first && (end > limit || last-w.Header.First > math.MaxUint32) {
			return i
		}
	}
	return len(parts)
}

// Seal ends the segment: it cuts off the zeros, writes the table and the footer, makes them
// durable and closes the file. The segment must not be empty. After an error the segment is
// still open as before, and recovery seals it.
func (w *Writer) Seal() error {
	if w.broken != nil {
		return w.broken
	}
	b := make([]byte, 0, len(w.rows)*RowSize+FooterSize)
	for _, r := range w.rows {
		b = AppendRow(b, r)
	}
	f := Footer{
		Table: uint64(w.end), First: w.Header.First, Last: w.last,
		Batches: uint32(len(w.rows)), Sum: w.sum, Rows: Checksum(b),
	}
	b = f.appendTo(b)
	err := w.f.Truncate(w.end)
	if err == nil {
		_, err = w.f.WriteAt(b, w.end)
	}
	if err == nil {
		err = w.f.Datasync()
	}
	if err != nil {
		w.broken = fmt.Errorf("seal segment %s: %w", w.Path, err)
		return errors.Join(w.broken, w.f.Close())
	}
	w.mu.Lock()
	w.sealed, w.footer, w.rows = true, f, nil
	w.mu.Unlock()
	return w.f.Close()
}

// Close leaves the segment open for a later Resume: it cuts off the zeros, so that a closed
// store is as small as possible, proves the last batch, and closes the file.
func (w *Writer) Close() error {
	if w.broken != nil {
		return w.f.Close()
	}
	var err error
	switch {
	case w.end == HeaderSize:
		err = w.f.Truncate(w.end)
	case w.proved == w.end:
		err = w.f.Truncate(w.end + BatchHeaderSize)
	default:
		if err = w.f.Truncate(w.end); err != nil {
			break
		}
		b := proof(w.last, w.sum, w.end)
		if _, werr := w.f.WriteAt(b[:], w.end); werr != nil {
			err = w.f.Truncate(w.end) // no room for the proof
		}
	}
	if err == nil {
		err = w.f.Datasync()
	}
	return errors.Join(err, w.f.Close())
}
