package repair

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/fsck/internal/plan"

	"tcp-log-server/segment"
)

// restoreBlobs restores blobs that are damaged, or missing and needed, or missing
// and not needed while there is room for them.
func (r *repairer) restoreBlobs() error {
	n := r.plan.BlobFiles
	done := map[segment.Hash]bool{}
	for _, f := range r.plan.Blobs {
		if f.Exists && f.Got != (segment.Hash{}) {
			r.salvaged[f.Got] = segment.BlobName(r.Store(), f.Hash)
		}
	}
	var blobs segment.BlobStore
	closed := func() {}
	defer func() { closed() }()
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
				// No entry needs it: without it the store is whole.
				if err := r.moveAway(Step{File: path, First: f.Index, Last: f.Index, Message: "it is damaged"}, "damaged"); err != nil {
					return err
				}
			}
			continue
		}
		err := r.do(Step{Action: "restore", File: path, First: f.Index, Last: f.Index, Message: fmt.Sprintf("the blob, of %d bytes", len(text))}, func() error {
			if blobs == nil {
				var err error
				if blobs, closed, err = r.openBlobs(); err != nil {
					return err
				}
			}
			if f.Exists && r.BlobStore == nil {
				if err := r.keep(path, "damaged"); err != nil {
					return err
				}
				r.searched = false // there is one more
			}
			if err := r.change(); err != nil {
				return err
			}
			_, err := blobs.Put(r.Context, f.Hash, text)
			return errors.Join(err, blobs.Sync(r.Context))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// blobPath names a blob of the log, which may keep none.
func (r *repairer) blobPath(hash segment.Hash) string {
	if store := r.Store(); store != nil {
		return segment.BlobName(store, hash)
	}
	return filepath.Join(r.Blobs, segment.BlobPath(hash))
}

// openBlobs opens the blobs for changes, until closed is called. A store that is no directory
// keeps no copy of the damaged bytes that a blob replaces.
func (r *repairer) openBlobs() (blobs segment.BlobStore, closed func(), err error) {
	if r.BlobStore != nil {
		return r.BlobStore, func() {}, nil
	}
	files, err := segment.OpenBlobs(r.Blobs)
	if err != nil {
		return nil, func() {}, err
	}
	return files, func() { files.Close() }, nil
}

// byHash finds the bytes of a blob.
func (r *repairer) byHash(f plan.Blob) ([]byte, bool) {
	if b, ok := r.salvage(f.Hash); ok {
		return b, true
	}
	if e, ok := r.ownEntry(f.Index); ok && segment.Sum(e.text) == f.Hash {
		return e.text, true
	}
	if r.other == nil {
		return nil, false
	}
	if b, ok := r.other.blob(f.Hash); ok {
		return b, true
	}
	if e, ok := r.other.fromSegment(f.Index); ok && segment.Sum(e.text) == f.Hash {
		return e.text, true
	}
	rec, err := r.index.At(f.Index)
	if err != nil || rec.Hash != f.Hash {
		return nil, false
	}
	return r.other.salvage(f.Index, rec)
}

// salvageMax is the size in bytes of the largest file in lost+found that is read to
// see whether it is the blob that is looked for.
const salvageMax = 16 << 20

// salvage finds the bytes of a blob under the name of another, in place or among
// the files in lost+found.
func (r *repairer) salvage(hash segment.Hash) ([]byte, bool) {
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
		for _, path := range paths[:min(len(paths), plan.BlobsMax)] {
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

// prune moves blobs that no entry has away.
func (r *repairer) prune() error {
	if !r.Prune {
		return nil
	}
	for _, path := range r.plan.Orphans {
		if err := r.moveAway(Step{File: path, Message: "no entry has this hash"}, "no entry has this hash"); err != nil {
			return err
		}
	}
	return nil
}
