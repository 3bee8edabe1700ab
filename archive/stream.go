package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// piece is an object, or part of one, that holds bytes of a segment from offset on.
type piece struct {
	key    string
	offset int64 // in the segment
	size   int64
	// sealed, unless empty, is the object of the whole segment, which has the same bytes at the
	// same offsets: once it exists, key is removed.
	sealed string
}

// streamTries is how often a read is retried in a row without a single new byte.
const streamTries = 5

// oneOff is the size in bytes up to which a read at another offset is a request of its own.
const oneOff = 4096

// stream reads the objects of one segment as a file. Forward reads are fast: they share one
// streamed request for each object. Not safe for concurrent use.
type stream struct {
	ctx    context.Context
	b      bucket.Bucket
	pieces []piece // in order, without a gap
	size   int64

	r  io.ReadCloser
	at int64 // of the next byte of r
}

// newStream returns a stream of the part p.
func newStream(ctx context.Context, b bucket.Bucket, p part) *stream {
	s := &stream{ctx: ctx, b: b, size: p.size}
	if p.sealed() {
		s.pieces = []piece{{key: SegmentKey(p.first), size: p.size}}
	}
	for _, i := range p.increments {
		s.pieces = append(s.pieces, piece{key: i.Key(), offset: i.Offset, size: i.End - i.Offset, sealed: SegmentKey(p.first)})
	}
	return s
}

// ReadAt implements io.ReaderAt. If an object is missing or too short, the error wraps
// segment.ErrDamaged.
func (s *stream) ReadAt(p []byte, off int64) (n int, err error) {
	if rest := s.size - off; int64(len(p)) > rest {
		p = p[:max(rest, 0)]
		err = io.EOF
	}
	tries := 0
	for n < len(p) {
		m, rerr := s.read(p[n:], off+int64(n))
		n += m
		switch {
		case m > 0:
			tries = 0
		case rerr == nil:
		case s.ctx.Err() != nil:
			return n, s.ctx.Err()
		case tries == streamTries, damaged(rerr):
			return n, rerr
		default:
			tries++
			select {
			case <-time.After(time.Duration(tries*tries) * 100 * time.Millisecond):
			case <-s.ctx.Done():
				return n, s.ctx.Err()
			}
		}
	}
	return n, err
}

// read reads some bytes at off.
func (s *stream) read(p []byte, off int64) (n int, err error) {
	i := sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].offset > off }) - 1
	from := s.pieces[i]
	inside := off - from.offset
	p = p[:min(int64(len(p)), from.size-inside)]
	if s.r == nil || s.at != off {
		length := from.size - inside
		if len(p) <= oneOff {
			length = int64(len(p))
		}
		r, err := s.b.Get(s.ctx, from.key, inside, length)
		if from.sealed != "" && errors.Is(err, bucket.ErrNotFound) {
			if now, serr := s.b.Get(s.ctx, from.sealed, off, length); serr == nil {
				r, err = now, nil
			}
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", objectPath(s.b, from.key), err)
			if errors.Is(err, bucket.ErrNotFound) || errors.Is(err, io.ErrUnexpectedEOF) { // shorter than listed
				err = fmt.Errorf("%w: %w", segment.ErrDamaged, err)
			}
			return 0, err
		}
		if length < from.size-inside {
			defer r.Close()
			n, err = io.ReadFull(r, p)
			return n, s.cut(from, inside+int64(n), err)
		}
		s.Close()
		s.r, s.at = r, off
	}
	n, err = s.r.Read(p)
	s.at += int64(n)
	if done := inside+int64(n) == from.size; err != nil || done {
		s.Close()
		if done {
			err = nil
		}
	}
	return n, s.cut(from, inside+int64(n), err)
}

// cut adds to err, unless nil, the object and the offset at which reading it ended.
func (s *stream) cut(from piece, at int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s, offset %d: %w", objectPath(s.b, from.key), at, err)
}

// Close ends the current request.
func (s *stream) Close() error {
	if s.r == nil {
		return nil
	}
	err := s.r.Close()
	s.r = nil
	return err
}

func damaged(err error) bool { return errors.Is(err, segment.ErrDamaged) }
