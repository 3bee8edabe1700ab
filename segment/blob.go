package segment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// tmpBlob is where a blob is written before it is renamed to its place. There
// is one, since there is one writer; one that is found is stray.
const tmpBlob = "blob.tmp"

// Blobs is the directory of blobs: the canonical JSON of one entry a file, in
// 256 subdirectories by the first two hex digits of the hash, named by the
// other 62. Put and Sync have one owner; Get may be called from any goroutine.
type Blobs struct {
	dir     string
	d       *os.File // for syncFS
	made    [256]bool
	touched []string // files and directories to sync where there is no syncFS
	trusted bool     // by Put, of files that are there already
}

// OpenBlobs opens the directory, creating it if there is none.
func OpenBlobs(dir string) (*Blobs, error) {
	if err := MakeDir(dir); err != nil {
		return nil, err
	}
	d, err := OpenDir(dir)
	if err != nil {
		return nil, err
	}
	b := &Blobs{dir: dir, d: d}
	if err := os.Remove(filepath.Join(dir, tmpBlob)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Close()
		return nil, err
	}
	return b, nil
}

// BlobPath is the path of a blob below its directory: `3f/9ac1…`.
func BlobPath(h Hash) string {
	s := h.String()
	return filepath.Join(s[:2], s[2:])
}

// ParseBlobPath is the inverse of BlobPath, for the two parts of the path.
func ParseBlobPath(shard, name string) (h Hash, ok bool) {
	if len(shard) != 2 || len(name) != 62 {
		return h, false
	}
	raw, err := hex.DecodeString(shard + name)
	if err != nil {
		return h, false
	}
	h = Hash(raw)
	return h, BlobPath(h) == filepath.Join(shard, name)
}

// Put writes the blob of entry unless it is there already, and reports whether
// it created a file. A file that is there with other bytes is replaced: it can
// only be damaged. The blob is durable after the next Sync that succeeds.
//
// A file that is there already is in doubt unless Trust says otherwise: where the
// sync of it failed, or never came, the page cache may show what the disk has
// lost. What counts then is what the disk gives back.
//
// An error wraps ErrObstructed where it is of this blob, or of its shard, alone.
func (b *Blobs) Put(h Hash, entry []byte) (created bool, err error) {
	if created, err = b.put(h, entry); err != nil {
		err = b.obstructed(h, err)
	}
	return created, err
}

// obstructed says what lies in the place of the blob or its shard, which could not be
// written because of err, and otherwise returns err.
func (b *Blobs) obstructed(h Hash, err error) error {
	path := filepath.Join(b.dir, BlobPath(h))
	shard := filepath.Dir(path)
	if fi, lerr := os.Lstat(shard); lerr == nil {
		// A link may lead to a directory.
		if to, serr := os.Stat(shard); errors.Is(serr, fs.ErrNotExist) || serr == nil && !to.IsDir() {
			return fmt.Errorf("%w: %s is not a directory (%s)", ErrObstructed, shard, fi.Mode())
		}
	}
	if fi, lerr := os.Lstat(path); lerr == nil && fi.IsDir() {
		return fmt.Errorf("%w: %s is a directory", ErrObstructed, path)
	}
	return err
}

func (b *Blobs) put(h Hash, entry []byte) (created bool, err error) {
	path := filepath.Join(b.dir, BlobPath(h))
	if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && fi.Size() == int64(len(entry)) {
		if b.holds(path, entry) {
			// It may be a crashed process's: not known to be durable.
			b.touched = append(b.touched, path, filepath.Dir(path))
			return false, nil
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	} else {
		created = err != nil
	}
	if !b.made[h[0]] {
		if err := os.Mkdir(filepath.Dir(path), dirPerm); err == nil {
			b.touched = append(b.touched, b.dir)
		} else if !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		b.made[h[0]] = true
	}
	tmp := filepath.Join(b.dir, tmpBlob)
	if err := os.WriteFile(tmp, entry, filePerm); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, path); err != nil {
		b.made[h[0]] = false // somebody may have removed the directory
		return false, err
	}
	b.touched = append(b.touched, path, filepath.Dir(path))
	return created, nil
}

// Has reports whether there is a file with the name of the blob, whatever it holds.
func (b *Blobs) Has(h Hash) bool {
	_, err := os.Lstat(filepath.Join(b.dir, BlobPath(h)))
	return err == nil
}

// Trust says that whatever the next Put may find was synced, or not: by this
// object, or before an index record that names it. It spares reading the disk.
func (b *Blobs) Trust(synced bool) { b.trusted = synced }

// holds reports whether the file holds entry: on the disk where it is in doubt,
// except what has yet to be written there, which the next sync reports.
func (b *Blobs) holds(path string, entry []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if !b.trusted {
		dropCache(f)
	}
	got, err := io.ReadAll(io.LimitReader(f, int64(len(entry))+1))
	return err == nil && bytes.Equal(got, entry)
}

// Sync makes every blob that was Put durable, and its name. On Linux it is one
// syncfs, since a sync of each of many small files takes many times as long.
// After an error every blob since the last Sync that succeeded is in doubt: a
// second Sync would succeed although the disk has lost them.
func (b *Blobs) Sync() error {
	if len(b.touched) == 0 {
		return nil
	}
	supported, err := syncFS(b.d)
	if !supported {
		err = syncEach(b.touched)
	}
	if err != nil {
		return fmt.Errorf("sync blobs %s: %w", b.dir, err)
	}
	b.touched = b.touched[:0]
	return nil
}

// syncEach syncs files and directories, each once, a few at a time.
func syncEach(paths []string) error {
	seen := make(map[string]bool, len(paths))
	errs := make([]error, 8)
	work := make(chan string)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for path := range work {
				if err := syncPath(path); err != nil {
					errs[i] = err
				}
			}
		})
	}
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			work <- p
		}
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}

func syncPath(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return SyncDir(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Get reads the blob of a record and verifies it: its size and its hash. The
// error wraps ErrNotFound where there is no such file, and is a *DamageError
// where it holds anything else.
func (b *Blobs) Get(r Record) ([]byte, error) { return ReadBlob(b.dir, r) }

// ReadBlob is Blobs.Get for the blobs in dir, which need not be open.
func ReadBlob(dir string, r Record) ([]byte, error) { return readBlob(dir, r, false) }

// ProveBlob is ReadBlob from the disk rather than the page cache, which can show
// what the disk has lost: for when another copy of the entry is to go.
func ProveBlob(dir string, r Record) error {
	_, err := readBlob(dir, r, true)
	return err
}

func readBlob(dir string, r Record, disk bool) ([]byte, error) {
	if dir == Memory {
		return nil, fmt.Errorf("%w: the log keeps no blobs", ErrNotFound)
	}
	path := filepath.Join(dir, BlobPath(r.Hash))
	f, err := os.OpenFile(path, os.O_RDONLY|noWait, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: blob %s", ErrNotFound, path)
		}
		return nil, err
	}
	defer f.Close()
	if disk {
		dropCache(f)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// One byte more than wanted tells a file that has grown from one that has not. A
	// record that is wrong about the size takes no more memory than the file.
	entry := make([]byte, min(int64(r.Size), fi.Size())+1)
	n, err := io.ReadFull(f, entry)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	entry = entry[:n]
	if n != int(r.Size) {
		return nil, &DamageError{Path: path, Err: fmt.Errorf("%w: blob is not of the %d bytes that the index has", ErrDamaged, r.Size)}
	}
	if got := Sum(entry); got != r.Hash {
		return nil, &DamageError{Path: path, Err: fmt.Errorf("%w: blob hashes to %s, want %s", ErrDamaged, got, r.Hash)}
	}
	return entry, nil
}

// Count counts the blobs, by their names alone. What lies in the place of a shard
// directory holds none; obstructed says what the first such is.
func (b *Blobs) Count() (n int, obstructed, err error) {
	err = EachShard(b.dir, func(shard string, names []string, err error) error {
		if errors.Is(err, syscall.ENOTDIR) {
			if obstructed == nil {
				obstructed = fmt.Errorf("%w: %w", ErrObstructed, err)
			}
			return nil
		}
		for _, name := range names {
			if _, ok := ParseBlobPath(shard, name); ok {
				n++
			}
		}
		return err
	})
	return n, obstructed, err
}

// Close closes the directory.
func (b *Blobs) Close() error { return b.d.Close() }

// EachShard calls fn with the names of all files in each of the 256 directories
// of blobs in dir that exists, in ascending order. err says why a directory could
// not be read to its end; it wraps syscall.ENOTDIR where something else lies in
// its place. An error of fn ends the walk and is returned. A dir that does not
// exist, or is Memory, has no blobs.
func EachShard(dir string, fn func(shard string, names []string, err error) error) error {
	if dir == Memory {
		return nil
	}
	for i := range 256 {
		shard := hex.EncodeToString([]byte{byte(i)})
		names, err := readNames(filepath.Join(dir, shard))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := fn(shard, names, err); err != nil {
			return err
		}
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	d, err := OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// EachBlob calls fn with the hash of each blob in dir, by its name alone: those
// of one shard in any order, the shards in ascending order. The error is fn's, or
// that of the first shard that cannot be read.
func EachBlob(dir string, fn func(h Hash) error) error {
	return EachShard(dir, func(shard string, names []string, err error) error {
		if err != nil {
			return err
		}
		for _, name := range names {
			if h, ok := ParseBlobPath(shard, name); ok {
				if err := fn(h); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
