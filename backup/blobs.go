package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tcp-log-server/segment"
)

const (
	// blobWorkers is how many blobs are copied at a time: more than there are cores, since most of
	// the time is spent waiting for the disk.
	blobWorkers = 8
	// remoteWorkers is how many blobs are copied at a time from a store that is not a directory:
	// most of the time is spent waiting for answers.
	remoteWorkers = 32
	// blobChunk is how many records a worker takes at a time.
	blobChunk = 128
)

// blobSet has the names of the source's blobs, listed after the records were captured. It takes 33
// bytes of memory for each file. done marks the blobs that a worker has handled.
type blobSet struct {
	hashes []segment.Hash // ascending
	done   []atomic.Bool
}

func listBlobs(ctx context.Context, store segment.BlobStore) (*blobSet, error) {
	s := &blobSet{}
	err := store.List(ctx, "", func(b segment.BlobInfo) error { s.hashes = append(s.hashes, b.Hash); return nil })
	if err != nil {
		return nil, segment.Unavailable(store, err)
	}
	slices.SortFunc(s.hashes, func(a, b segment.Hash) int { return bytes.Compare(a[:], b[:]) })
	s.done = make([]atomic.Bool, len(s.hashes))
	return s, nil
}

// take reports whether there is a blob with the hash h, and whether the caller is the first to take
// it.
func (s *blobSet) take(h segment.Hash) (there, mine bool) {
	i, there := slices.BinarySearchFunc(s.hashes, h, func(a, b segment.Hash) int { return bytes.Compare(a[:], b[:]) })
	return there, there && s.done[i].CompareAndSwap(false, true)
}

// putBlobs adds the blobs of the entries that are new in the index, and of those whose segment the
// source has removed since the earlier backup. An entry without a segment must have a blob; any
// other may lack it, because of LOOSE_MAX.
func (b *backup) putBlobs() error {
	src, d := b.src, b.dest
	if src.wal == "" || src.blobs == nil || src.records == 0 {
		return nil
	}
	from := d.settled + 1
	if len(d.segs) > 0 {
		from = min(from, d.segs[0].First)
	}
	set, err := listBlobs(b.ctx, src.blobs)
	if err != nil {
		return err
	}
	for shard := range 256 {
		if err := os.Mkdir(filepath.Join(d.blobs(), fmt.Sprintf("%02x", shard)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	total, added := int64(src.records+1-min(from, src.records+1)), atomic.Int64{}
	group, ctx := errgroup.WithContext(b.ctx)
	chunks := make(chan blobRun)
	group.Go(func() error {
		defer close(chunks)
		records := segment.NewRecords(src.wal, src.records)
		defer records.Close()
		for index := from; index <= src.records; {
			run := blobRun{first: index}
			for ; index <= src.records && len(run.recs) < blobChunk; index++ {
				rec, err := records.At(index)
				if err != nil {
					return err
				}
				run.recs = append(run.recs, rec)
			}
			b.Progress(PhaseBlobs, int64(run.first-from), total)
			select {
			case chunks <- run:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.Progress(PhaseBlobs, total, total)
		return nil
	})
	workers := blobWorkers
	if _, local := segment.Dir(src.blobs); !local {
		workers = remoteWorkers
	}
	for worker := range workers {
		group.Go(func() error {
			tmp := d.in(fmt.Sprintf("blob-%d", worker))
			for run := range chunks {
				for i, rec := range run.recs {
					n, err := b.putBlob(set, run.first+uint64(i), rec, tmp)
					if err != nil {
						return err
					}
					added.Add(int64(n))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.res.Blobs = int(added.Load())
	dirs := []string{d.blobs()}
	for shard := range 256 {
		dirs = append(dirs, filepath.Join(d.blobs(), fmt.Sprintf("%02x", shard)))
	}
	return b.sync(dirs...)
}

// blobRun is a run of records that begins with index first.
type blobRun struct {
	first uint64
	recs  []segment.Record
}

// putBlob adds the blob of one entry, unless it is there already or the source has none, and
// returns how many files it added. tmp is a path for this worker only.
func (b *backup) putBlob(set *blobSet, index uint64, rec segment.Record, tmp string) (added int, err error) {
	if rec.Lost() {
		return 0, nil
	}
	there, mine := set.take(rec.Hash)
	from, to := segment.BlobName(b.src.blobs, rec.Hash), filepath.Join(b.dest.blobs(), segment.BlobPath(rec.Hash))
	if !there {
		if index < b.src.segs[0].First {
			return 0, &segment.DamageError{Path: from, First: index, Last: index, Err: fmt.Errorf("%w: the blob is missing, and its entry is in no segment", segment.ErrDamaged)}
		}
		return 0, nil
	}
	if !mine {
		return 0, nil
	}
	if fi, err := os.Lstat(to); err == nil && fi.Mode().IsRegular() && fi.Size() == int64(rec.Size) {
		return 0, nil
	}
	entry, err := segment.ReadBlob(b.ctx, b.src.blobs, rec)
	if err != nil {
		return 0, err
	}
	if err := b.step("blob"); err != nil {
		return 0, err
	}
	linked := false
	if _, local := segment.Dir(b.src.blobs); local {
		if linked, err = b.link(from, tmp); err != nil {
			return 0, err
		}
	}
	if linked {
		b.linked.Add(int64(len(entry)))
	} else {
		if err := writeFile(tmp, entry); err != nil {
			return 0, err
		}
		b.copied.Add(int64(len(entry)))
	}
	return 1, os.Rename(tmp, to)
}

func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && syncEach {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
