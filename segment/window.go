package segment

import (
	"errors"
	"io"
	"os"
)

const (
	// readAhead is how many bytes one read of a segment requests: enough to make the cost of
	// the call negligible, but few enough to stay in the processor's cache.
	readAhead = 512 << 10
	// readFirst is how many the first read requests, and each read after it twice as many, up to
	// readAhead: most reads are of a few entries.
	readFirst = 64 << 10
)

// skipHole returns the offset from which on r, if it is a file, may have bytes other than
// zero: off, or the end of the hole there. A file can have a hole of any size.
func skipHole(r io.ReaderAt, off int64) int64 {
	if f, ok := r.(*os.File); ok {
		return max(off, nextData(f, off))
	}
	return off
}

// window reads a file forwards through one buffer. Not for concurrent use.
type window struct {
	r    io.ReaderAt
	size int64 // bytes beyond it are not read, even if the file grows
	buf  []byte
	off  int64 // where in the file buf begins
	last int   // how many bytes the last read requested
}

// at returns the n bytes at off, valid until the next call. It returns fewer only if the
// file ends (or has been cut) before that, and never allocates more than the file can
// fill. An error in reading bytes after them is ignored.
func (w *window) at(off int64, n int) ([]byte, error) {
	if rest := w.size - off; int64(n) > rest {
		n = int(max(rest, 0))
	}
	if n == 0 {
		return nil, nil
	}
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	w.last = min(max(2*w.last, readFirst), readAhead)
	want := int(min(int64(max(n, w.last)), w.size-off))
	have := 0
	if keep := w.off + int64(len(w.buf)) - off; off >= w.off && keep > 0 {
		// The tail of the window is the beginning of the wanted bytes.
		have = int(keep)
	}
	tail := w.buf[len(w.buf)-have:]
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf = w.buf[:want]
	copy(w.buf, tail)
	w.off = off
	m, err := io.ReadFull(io.NewSectionReader(w.r, off+int64(have), int64(want-have)), w.buf[have:])
	w.buf = w.buf[:have+m]
	if err != nil && len(w.buf) < n && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return w.buf[:min(n, len(w.buf))], nil
}
