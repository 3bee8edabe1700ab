package fsck

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// restoreBlobs restores blobs that are damaged, or missing and needed, or missing
// and not needed while there is room for them. There are n of them.
func (r *repairer) restoreBlobs(n int64) error {
	done := map[segment.Hash]bool{}
	for _, f := range r.plan.blobs {
		if f.there && f.got != (segment.Hash{}) {
			r.salvaged[f.got] = filepath.Join(r.Blobs, segment.BlobPath(f.hash))
		}
	}
	var blobs *segment.Blobs
	defer func() {
		if blobs != nil {
			blobs.Close()
		}
	}()
	for _, f := range r.plan.blobs {
		if done[f.hash] {
			continue // another entry has it too
		}
		path := filepath.Join(r.Blobs, segment.BlobPath(f.hash))
		if !f.there {
			if !f.missing && r.LooseMax >= 0 && n >= int64(r.LooseMax) {
				continue
			}
			n++
		}
		text, ok := r.byHash(f)
		done[f.hash] = ok
		if !ok {
			r.gone[f.hash] = r.gone[f.hash] || f.missing
			if f.there && !f.missing {
				// No entry needs it: without it the store is whole.
				if err := r.do(Step{Action: "move", File: path, First: f.index, Last: f.index, Message: "to lost+found: it is damaged"}, func() error {
					return r.move(path, "damaged")
				}); err != nil {
					return err
				}
			}
			continue
		}
		err := r.do(Step{Action: "restore", File: path, First: f.index, Last: f.index, Message: fmt.Sprintf("the blob, of %d bytes", len(text))}, func() error {
			if blobs == nil {
				var err error
				if blobs, err = segment.OpenBlobs(r.Blobs); err != nil {
					return err
				}
			}
			if f.there {
				if err := r.keep(path, "damaged"); err != nil {
					return err
				}
				r.searched = false // there is one more
			}
			if err := r.change(); err != nil {
				return err
			}
			_, err := blobs.Put(f.hash, text)
			return errors.Join(err, blobs.Sync())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// byHash finds the bytes of a blob.
func (r *repairer) byHash(f blobFault) ([]byte, bool) {
	if b, ok := r.salvage(f.hash); ok {
		return b, true
	}
	if e, ok := r.ownEntry(f.index); ok && segment.Sum(e.text) == f.hash {
		return e.text, true
	}
	if r.other == nil {
		return nil, false
	}
	if b, ok := r.other.blob(f.hash); ok {
		return b, true
	}
	if e, ok := r.other.packed(f.index); ok && segment.Sum(e.text) == f.hash {
		return e.text, true
	}
	rec, err := r.index.at(f.index)
	if err != nil || rec.Hash != f.hash {
		return nil, false
	}
	return r.other.salvage(f.index, rec)
}

// salvage finds the bytes of a blob under the name of another, in place or among
// what has been moved away.
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
		for _, path := range paths[:min(len(paths), blobsMax)] {
			if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() || fi.Size() >= largeBlob {
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
	for _, path := range r.plan.orphans {
		err := r.do(Step{Action: "move", File: path, Message: "to lost+found: no entry has this hash"}, func() error {
			return r.move(path, "no entry has this hash")
		})
		if err != nil {
			return err
		}
	}
	return nil
}
