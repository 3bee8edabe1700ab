package fsck

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

const (
	// partMax is how many blobs are held in memory at a time, by about 100 bytes.
	partMax = 1 << 19
	// blobRun is how many blobs a worker takes at a time.
	blobRun = 64
)

// blobPart is what is known of the blobs in some of the 256 directories.
type blobPart struct {
	from, through int // the directories, by number
	known         map[segment.Hash]int32
	info          []blobInfo
	got           map[int32]segment.Hash // of blobs that are damaged: what they hash to
	there         [256]bool              // which directories there are
	dark          [256]bool              // which of them cannot be read
	none          bool                   // there is none at all
	c             *checker               // that reads large ones
}

// blobInfo is what is known of one blob.
type blobInfo struct {
	size        int64
	first, last uint64 // the entries that refer to it, 0 for none
	runs        bool   // they are not all of those from first through last
	whole       bool   // it hashes to its name, or has not been read
	large       bool   // it has yet to be read, once an entry is known to be of its size
	young       bool   // made since the check began
	needed      bool   // an entry can be read from nowhere else
}

// blobFile is a blob that is to be read.
type blobFile struct {
	path string
	hash segment.Hash
	size int64
	ino  uint64
	info blobInfo
	got  segment.Hash
}

// readBlobs reads the blobs in the directories from the given one on, as many
// directories as hold not many more than partMax.
func (c *checker) readBlobs(from int) (*blobPart, error) {
	p := &blobPart{from: from, through: 255, known: map[segment.Hash]int32{}, got: map[int32]segment.Hash{}, c: c}
	if c.Blobs == segment.Memory || c.foreignBlobs {
		return p, nil
	}
	shards := c.shards(from == 0)
	p.there, p.none = shards, shards == [256]bool{}
	total := int64(0)
	if c.OnProgress != nil {
		total = c.countBlobs()
	}
	work := make(chan []blobFile)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range c.Workers {
		workers.Go(func() {
			buf := make([]byte, 64<<10)
			for files := range work {
				for i := range files {
					buf = c.readBlob(&files[i], buf)
				}
				mu.Lock()
				p.add(files)
				mu.Unlock()
				c.count(files)
				c.advance("blobs", int64(len(files)), total)
			}
		})
	}
	listed := 0
	for shard := from; shard < 256; shard++ {
		if !shards[shard] {
			continue
		}
		files, err := c.listShard(shard)
		p.dark[shard] = err != nil
		listed += len(files)
		for run := range slices.Chunk(files, blobRun) {
			work <- run
		}
		if listed >= c.part || c.ctx.Err() != nil {
			p.through = shard
			break
		}
	}
	close(work)
	workers.Wait()
	return p, c.ctx.Err()
}

// count adds the blobs to the summary.
func (c *checker) count(files []blobFile) {
	size := int64(0)
	for i := range files {
		size += files[i].size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sum.Blobs += int64(len(files))
	c.sum.Bytes += size
}

// add takes over files that have been read. p.mu is held.
func (p *blobPart) add(files []blobFile) {
	for i := range files {
		f := &files[i]
		if !f.info.whole {
			p.got[int32(len(p.info))] = f.got
		}
		p.known[f.hash] = int32(len(p.info))
		p.info = append(p.info, f.info)
	}
}

// shards tells which of the directories of blobs there are. It makes findings on
// what else there is if it is told to speak.
func (c *checker) shards(speak bool) (there [256]bool) {
	entries, err := os.ReadDir(c.Blobs)
	if err != nil {
		if speak && !gone(err) {
			c.unreadable(c.Blobs, 0, 0, err)
		}
		return there
	}
	for _, e := range entries {
		path := filepath.Join(c.Blobs, e.Name())
		number, ok := parseShard(e.Name())
		switch {
		case ok && e.IsDir():
			there[number] = true
		case !speak:
		case ok:
			c.wrongType(path, e.Type(), "a directory")
		case e.Name() == segment.LostFound, e.IsDir() && segment.IsMark(e.Name()):
		case segment.IsMark(e.Name()):
			c.wrongType(path, e.Type(), "a directory")
		default:
			c.stray(path)
		}
	}
	return there
}

// parseShard is the number of the directory of blobs with the given name.
func parseShard(name string) (number byte, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != 1 || name != strings.ToLower(name) {
		return 0, false
	}
	return b[0], true
}

// countBlobs counts the blobs by their names, for the progress alone.
func (c *checker) countBlobs() int64 {
	n := 0
	for shard := range 256 {
		if d, err := segment.OpenDir(filepath.Join(c.Blobs, fmt.Sprintf("%02x", shard))); err == nil {
			names, _ := d.Readdirnames(-1)
			n += len(names)
			d.Close()
		}
	}
	return int64(n)
}

// listShard lists the blobs in a directory in the order of their inodes, which
// is about the order in which they lie on the disk.
func (c *checker) listShard(shard int) ([]blobFile, error) {
	dir := filepath.Join(c.Blobs, fmt.Sprintf("%02x", shard))
	d, err := segment.OpenDir(dir)
	if err != nil {
		c.unreadable(dir, 0, 0, err)
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		c.unreadable(dir, 0, 0, err)
	}
	files := make([]blobFile, 0, len(names))
	for _, name := range names {
		f := blobFile{path: filepath.Join(dir, name)}
		hash, ok := segment.ParseBlobPath(filepath.Base(dir), name)
		if !ok {
			c.stray(f.path)
			continue
		}
		fi, err := os.Lstat(f.path)
		if err != nil {
			if !gone(err) {
				c.unreadable(f.path, 0, 0, err)
			}
			continue
		}
		if !fi.Mode().IsRegular() {
			c.wrongType(f.path, fi.Mode(), "a file")
			continue
		}
		f.hash, f.size, f.ino = hash, fi.Size(), inode(fi)
		f.info = blobInfo{size: f.size, whole: true, young: c.young(fi.ModTime())}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b blobFile) int {
		switch {
		case a.ino < b.ino:
			return -1
		case a.ino > b.ino:
			return 1
		}
		return 0
	})
	return files, err
}

// readBlob reads a blob and sets what its info says of the contents. It returns
// the buffer for the next.
func (c *checker) readBlob(f *blobFile, buf []byte) []byte {
	if c.Quick {
		return buf
	}
	if f.size >= streamed {
		f.info.large = true
		return buf
	}
	if int64(cap(buf)) < f.size {
		buf = make([]byte, f.size)
	}
	buf = buf[:cap(buf)]
	n, err := readFile(f.path, buf[:f.size])
	if err != nil {
		f.info.whole = false
		c.unreadable(f.path, 0, 0, err)
		return buf
	}
	f.got = segment.Sum(buf[:n])
	f.info.whole = f.got == f.hash
	if f.info.whole {
		c.checkCanonical(f.path, buf[:n])
	}
	return buf
}

// checkCanonical makes the finding that a whole blob is not canonical JSON.
func (c *checker) checkCanonical(path string, blob []byte) {
	if err := canonical.CheckStored(blob); err != nil {
		c.find(Finding{Kind: NotCanonical, File: path, Message: fmt.Sprintf("hashes to its name, but is no entry in canonical form: %v", err)})
	}
}

// blobState is what a part says of the blob that an entry refers to.
type blobState int

const (
	elsewhere   blobState = iota // in a directory of another part
	absent                       // no such file
	blobDamaged                  // a file with other bytes
	blobWhole
)

// see notes that the entry at index has the given hash and size, and returns
// what is known of its blob. needed says that the entry is nowhere else.
func (p *blobPart) see(hash segment.Hash, size uint32, index uint64, needed bool) blobState {
	if shard := int(hash[0]); shard < p.from || shard > p.through {
		return elsewhere
	}
	at, ok := p.known[hash]
	if !ok {
		return absent
	}
	b := &p.info[at]
	if b.first == 0 {
		b.first = index
	}
	b.runs = b.runs || b.last != 0 && index > b.last+1
	b.last, b.needed = index, b.needed || needed
	if b.size == int64(size) {
		p.readLarge(at, hash)
	}
	if !b.whole || b.size != int64(size) {
		b.whole = false
		return blobDamaged
	}
	return blobWhole
}

// fresh reports whether the entry at index is the first that has the blob of hash.
func (p *blobPart) fresh(hash segment.Hash, index uint64) bool {
	at, ok := p.known[hash]
	return ok && p.info[at].first == index
}

// note notes that the entry at index refers to the blob of hash, whatever its
// size, and reports whether the blob is whole.
func (p *blobPart) note(hash segment.Hash, index uint64) bool {
	at, ok := p.known[hash]
	if ok && p.info[at].first == 0 {
		p.info[at].first, p.info[at].last = index, index
	}
	if ok {
		p.readLarge(at, hash)
	}
	return ok && p.info[at].whole
}

// report makes the findings on the blobs of the part, now that every entry has
// been seen. unknown says that not every entry's hash is known: then it cannot
// be told which blobs are orphans.
func (p *blobPart) report(c *checker, unknown bool) {
	for hash, at := range p.known {
		b := p.info[at]
		path := filepath.Join(c.Blobs, segment.BlobPath(hash))
		switch {
		case b.first == 0 && (unknown || b.young):
		case b.first == 0:
			c.plan.orphan(path)
			note := ""
			if !b.whole {
				note = ", and does not hash to its name"
			}
			c.find(Finding{Kind: BlobOrphan, File: path, Message: "no entry has this hash" + note})
		case !b.whole:
			c.damagedBlob(path, hash, b, p.got[at])
		}
	}
}

// damagedBlob makes the finding, unless the file turns out to have been put
// right by a daemon meanwhile.
func (c *checker) damagedBlob(path string, hash segment.Hash, b blobInfo, got segment.Hash) {
	f := Finding{Kind: BlobDamaged, File: path, First: b.first, Last: b.last, Want: hash.String()}
	if b.runs {
		f.Last = b.first
	}
	if got != (segment.Hash{}) {
		f.Got = got.String()
		f.Message = fmt.Sprintf("%d bytes hash to %s, want %s", b.size, got, hash)
	} else {
		f.Message = fmt.Sprintf("%d bytes are not what the index has", b.size)
	}
	if b.runs {
		f.Message += fmt.Sprintf("; it is the blob of others as well, the last of them at index %d", b.last)
	}
	c.plan.blob(blobFault{hash: hash, index: b.first, there: true, missing: b.needed, got: got})
	c.find(f)
}

// wholeBlob reads the blob of hash from the directory dir, if it is there and
// whole. It is for what a list that is no longer new does not have.
func wholeBlob(dir string, hash segment.Hash) ([]byte, bool) {
	path := filepath.Join(dir, segment.BlobPath(hash))
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > segment.MaxBody {
		return nil, false
	}
	blob := make([]byte, fi.Size())
	n, err := readFile(path, blob)
	return blob[:n], err == nil && segment.Sum(blob[:n]) == hash
}

// readFile reads as much of a file as buf has room for.
func readFile(path string, buf []byte) (int, error) {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
