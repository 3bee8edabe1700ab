package fsck

import (
	"io"
	"path/filepath"

	"github.com/zeebo/blake3"

	"tcp-log-server/segment"
)

// streamed is the size in bytes from which on a blob is large: it is hashed piece
// by piece, and only when an entry of that size is known to have it. A file that has
// swollen is told by its size alone, and may be larger than there is time to read.
const streamed = 16 << 20

// readLarge reads the blob of hash at the given place of the part, if that has yet
// to be done.
func (p *blobPart) readLarge(at int32, hash segment.Hash) {
	b := &p.info[at]
	if !b.large {
		return
	}
	b.large = false
	if b.size > segment.MaxBody {
		b.whole = false // no entry is as large
		return
	}
	f := blobFile{path: filepath.Join(p.c.Blobs, segment.BlobPath(hash)), hash: hash, size: b.size}
	p.c.streamBlob(&f)
	b.whole = f.info.whole
	if !b.whole {
		p.got[at] = f.got
	}
}

// streamBlob is readBlob for one that is too large to be held at once.
func (c *checker) streamBlob(f *blobFile) {
	file, err := segment.OpenRegular(f.path)
	if err == nil {
		defer file.Close()
		h := blake3.New()
		if _, err = io.Copy(h, io.NewSectionReader(file, 0, f.size)); err == nil {
			f.got = segment.Hash(h.Sum(nil))
			f.info.whole = f.got == f.hash
			if f.info.whole && f.size <= segment.MaxBody {
				blob := make([]byte, f.size)
				if _, err = file.ReadAt(blob, 0); err == nil {
					c.checkCanonical(f.path, blob)
				}
			}
		}
	}
	if err != nil {
		f.info.whole = false
		c.unreadable(f.path, 0, 0, err)
	}
}
