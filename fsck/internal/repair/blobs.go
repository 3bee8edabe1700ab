package repair

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// restoreBlobs restores blobs that are damaged, or missing and needed, or missing and not needed while there
// is room for them.
func (r *Repair) restoreBlobs() error {
	if r.Store() == nil {
		return r.restoreUnsettled()
	}
	n := r.plan.BlobFiles
	done := map[segment.Hash]bool{}
	for _, f := range r.plan.Blobs {
		if f.Exists && f.Got != (segment.Hash{}) {
			r.salvaged[f.Got] = segment.BlobName(r.Store(), f.Hash)
		}
	}
	for _, f := range r.plan.Blobs {
		if done[f.Hash] {
			continue // another entry has it too
		}
		path := r.blobPath(f.Hash)
		if !f.Exists {
			if !f.Needed && r.LooseMax >= 0 && n >= int64(r.LooseMax) {
				continue
			}
			n++
		}
		text, ok := r.byHash(f)
		done[f.Hash] = ok
		if !ok {
			r.gone[f.Hash] = r.gone[f.Hash] || f.Needed
			if f.Exists && !f.Needed && r.BlobStore == nil {
				// No entry needs it: the store is intact without it.
				if err := r.moveAway(Step{File: path, First: f.Index, Last: f.Index, Message: "it is damaged"}, "damaged"); err != nil {
					return err
				}
			}
			continue
		}
		err := r.do(Step{Action: "restore", File: path, First: f.Index, Last: f.Index, Message: fmt.Sprintf("the blob, of %d bytes", len(text))}, func() error {
			if f.Exists && r.BlobStore == nil {
				if err := r.keep(path, "damaged"); err != nil {
					return err
				}
				r.searched = false // there is one more to search
			}
			if _, err := r.putBlob(f.Hash, text); err != nil {
				return err
			}
			return r.blobs.Sync(r.Context)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// restoreUnsettled makes segments of the entries that exist only as blobs, for a log that keeps no blobs and
// so needs a segment for each entry.
func (r *Repair) restoreUnsettled() error {
	lowest := r.first
	for _, f := range r.plan.Blobs {
		rec, _ := r.index.At(f.Index)
		if rec.Hash != f.Hash {
			rec = segment.Record{Hash: f.Hash}
		}
		if _, ok := r.find(f.Index, rec, nil); ok {
			lowest = min(lowest, f.Index)
		} else {
			r.gone[f.Hash] = r.gone[f.Hash] || f.Needed
		}
	}
	if len(r.segs) == 0 || lowest == r.first {
		return nil
	}
	return r.fillGap(lowest, r.first-1)
}

// blobPath names a blob of the log, which may keep none.
func (r *Repair) blobPath(hash segment.Hash) string {
	if store := r.Store(); store != nil {
		return segment.BlobName(store, hash)
	}
	return filepath.Join(r.Blobs, segment.BlobPath(hash))
}

// putBlob writes a blob, which the next sync of r.blobs makes durable, and reports whether there was none. A
// store that is not a directory keeps no copy of the damaged bytes that a blob replaces.
func (r *Repair) putBlob(hash segment.Hash, text []byte) (created bool, err error) {
	if r.blobs == nil {
		r.blobs = r.BlobStore
	}
	if r.blobs == nil {
		files, err := segment.OpenBlobs(r.Blobs)
		if err != nil {
			return false, err
		}
		r.blobs = files
	}
	err = r.change(func() error {
		created, err = r.blobs.Put(r.Context, hash, text)
		return err
	})
	return created, err
}

// settleBlob writes the blob of an entry that the index lacks, while there is room for it.
func (r *Repair) settleBlob(hash segment.Hash, text []byte) error {
	if r.DryRun || r.Store() == nil || r.LooseMax >= 0 && r.plan.BlobFiles >= int64(r.LooseMax) {
		return nil
	}
	created, err := r.putBlob(hash, text)
	if created {
		r.plan.BlobFiles++
	}
	if errors.Is(err, segment.ErrObstructed) {
		return nil // the entry stays packed
	}
	return err
}

// byHash finds the bytes of a blob.
func (r *Repair) byHash(f Blob) ([]byte, bool) {
	if b, ok := r.salvage(f.Hash); ok {
		return b, true
	}
	if e, ok := r.ownEntry(f.Index); ok && segment.Sum(e.text) == f.Hash {
		return e.text, true
	}
	rec, _ := r.index.At(f.Index)
	if rec.Hash != f.Hash {
		rec = segment.Record{Hash: f.Hash}
	}
	e, ok := r.find(f.Index, rec, nil)
	return e.text, ok
}

// salvageMax is the size in bytes of the largest file in lost+found that is read to see whether it is the
// wanted blob.
const salvageMax = 16 << 20

// salvage finds the bytes of a blob under another blob's name, in place or among the files in lost+found.
func (r *Repair) salvage(hash segment.Hash) ([]byte, bool) {
	for range 2 {
		if path, ok := r.salvaged[hash]; ok {
			if b, err := os.ReadFile(path); err == nil && segment.Sum(b) == hash {
				return b, true
			}
		}
		if r.searched {
			break
		}
		r.searched = true
		paths, _ := filepath.Glob(filepath.Join(r.Data, segment.LostFound, "blobs-*"))
		for _, path := range paths[:min(len(paths), blobsMax)] {
			if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() || fi.Size() > salvageMax {
				continue
			}
			if b, err := os.ReadFile(path); err == nil {
				r.salvaged[segment.Sum(b)] = path
			}
		}
	}
	return nil, false
}

// prune moves away blobs that belong to no entry.
func (r *Repair) prune() error {
	if !r.Prune {
		return nil
	}
	return r.moveAll(r.plan.Orphans, "no entry has this hash", "no entry has this hash")
}
