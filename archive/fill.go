package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// fill downloads the segments, a few at a time, and verifies them in order.
func (r *restore) fill() (*verifier, error) {
	if err := r.clear(); err != nil {
		return nil, err
	}
	v, wrong := r.verifier()
	ready := make([]chan struct{}, len(r.parts))
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	counter := &counter{total: r.total, progress: r.Progress}
	group, ctx := errgroup.WithContext(r.ctx)
	group.Go(func() error { return r.verify(ctx, v, wrong, ready) })
	group.Go(func() error {
		// Segments that wait to be verified take no memory, and only the disk space that they need
		// anyway.
		fetching, ctx := errgroup.WithContext(ctx)
		fetching.SetLimit(transfers)
		for i, p := range r.parts {
			fetching.Go(func() error {
				if err := r.fetch(ctx, p, counter); err != nil {
					return err
				}
				close(ready[i])
				return nil
			})
		}
		return fetching.Wait()
	})
	return v, group.Wait()
}

// clear removes the files that a restore of other entries has left.
func (r *restore) clear() error {
	if err := os.Remove(filepath.Join(r.Dir, epochKey)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	wanted := make(map[string]bool)
	for _, p := range r.parts {
		wanted[segment.Name(p.first)] = true
	}
	staged, err := os.ReadDir(r.in("segments"))
	if err != nil {
		return err
	}
	for _, e := range staged {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(r.in("segments"), e.Name())); err != nil {
				return err
			}
		}
	}
	files, _, err := segment.ListRecordFiles(r.wal())
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f.Path); err != nil {
			return err
		}
	}
	return nil
}

// verifier returns the verifier of the segments, and a pointer to the first error it finds.
func (r *restore) verifier() (v *verifier, wrong *error) {
	wrong = new(error)
	index := &indexFiles{read: func(first uint64) ([]byte, error) { return r.a.readIndex(r.ctx, first) }}
	next := uint64(1) // first index of the index file to write next
	index.has = r.a.hasIndex
	index.use = func(first uint64, content []byte) error {
		if first != next {
			return nil
		}
		next += segment.RecordsPerFile
		return r.putIndex(first, content)
	}
	v = newVerifier(r.ctx, r.a.store, index, r.a.path, func(f fsck.Finding) {
		if f.Kind.Severity() == fsck.Error && *wrong == nil {
			*wrong = fmt.Errorf("%w: %s, offset %d, index %d: %s; `tcp-log-server fsck %s` says more", ErrDamaged, f.File, f.Offset, f.First, f.Message, r.a.b)
		}
	})
	v.through = r.head
	return v, wrong
}

// putIndex writes an index file with the records of the restored entries.
func (r *restore) putIndex(first uint64, content []byte) error {
	var recs []segment.Record
	_ = segment.ParseRecords(content, first, func(index uint64, rec segment.Record, _ error) error {
		if index <= r.head {
			recs = append(recs, rec)
		}
		return nil
	})
	if err := r.step("index"); err != nil {
		return err
	}
	path, _, _ := segment.RecordPath(r.wal(), first)
	return segment.WriteRecords(path, first, recs)
}

// verify verifies the file of each segment once it is ready.
func (r *restore) verify(ctx context.Context, v *verifier, wrong *error, ready []chan struct{}) error {
	for i, p := range r.parts {
		select {
		case <-ready[i]:
		case <-ctx.Done():
			return ctx.Err()
		}
		path := r.staged(p)
		err := r.verifyFile(v, p, path)
		if err == nil {
			err = *wrong
		}
		if err == nil {
			err = v.index.err
		}
		if err != nil {
			return errors.Join(err, os.Remove(path))
		}
	}
	if v.next-1 != r.head {
		return fmt.Errorf("%w: the segments of %s end at %d, want %d", ErrDamaged, r.a.b, v.next-1, r.head)
	}
	return nil
}

func (r *restore) staged(p part) string {
	return filepath.Join(r.in("segments"), segment.Name(p.first))
}

// verifyFile verifies the file of a segment. It cuts the last one first.
func (r *restore) verifyFile(v *verifier, p part, path string) error {
	if r.head >= p.first && r.head < p.last {
		var err error
		if p, err = r.cut(p, path); err != nil {
			return err
		}
	}
	f, err := segment.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := v.part(p, f); err != nil {
		return err
	}
	return r.ctx.Err()
}

// has reports whether an earlier restore has downloaded the segment p. It checks the contents:
// after a power cut, the file can have the right size and the wrong bytes, and that must not count
// as damage of the archive.
func (r *restore) has(p part, path string) bool {
	if !p.sealed() || r.head < p.last {
		return false
	}
	f, err := segment.OpenRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() != p.size {
		return false
	}
	_, _, err = checkSealed(f, path, p.first)
	return err == nil
}

// fetch downloads a segment, unless an earlier restore has, and makes it durable.
func (r *restore) fetch(ctx context.Context, p part, c *counter) error {
	path := r.staged(p)
	if r.has(p, path) {
		c.add(p.size)
		return syncFile(path) // it may only be in the page cache
	}
	if err := r.step("segment"); err != nil {
		return err
	}
	s := newStream(ctx, r.a.b, p)
	defer s.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buf := make([]byte, copyBuffer)
	for at := int64(0); at < p.size && err == nil; {
		var n int
		if n, err = s.ReadAt(buf[:min(int64(len(buf)), p.size-at)], at); err == nil {
			_, err = f.WriteAt(buf[:n], at)
		}
		at += int64(n)
		c.add(int64(n))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFile makes durable what another process has written to the file.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
