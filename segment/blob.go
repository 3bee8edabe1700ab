package segment

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// tmpBlob is where a blob is written before it is renamed to its place. There is only one,
// since there is one writer; one that is found is a leftover.
const tmpBlob = "blob.tmp"

// Blobs is the directory of blobs. Each file is the canonical JSON of one entry, in one of 256
// subdirectories named by the first two hex digits of its hash, and named by the other 62. It
// is a BlobStore; only one process at a time may have it open.
type Blobs struct {
	dir string
	d   *os.File // for syncFS; nil if not open

	mu      sync.Mutex // for Put and Sync
	made    [256]bool
	touched []string // files and directories to sync where there is no syncFS
	trusted bool     // Put trusts files that already exist
}

// BlobsIn returns the directory of blobs dir for reading; it need not exist and is not opened.
// Put and Sync need OpenBlobs. For Memory the result is nil.
func BlobsIn(dir string) BlobStore {
	if dir == Memory {
		return nil
	}
	return &Blobs{dir: dir}
}

// OpenBlobs opens the directory, creating it if necessary.
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

// BlobPath returns the path of a blob below its directory: `3f/9ac1…`.
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

// Put writes the blob of entry unless it exists, and reports whether it created a file. An
// existing file with other bytes is replaced: it can only be damaged. The blob is durable after
// the next successful Sync.
//
// An existing file is in doubt unless Trust says otherwise: if its sync failed, or never came,
// the page cache may show bytes that the disk has lost. Then only the bytes on the disk count.
//
// An error wraps ErrObstructed if it concerns only this blob or its shard. A Put is too short
// to watch the context.
func (b *Blobs) Put(_ context.Context, h Hash, entry []byte) (created bool, err error) {
	if b.d == nil {
		return false, fmt.Errorf("%s has been opened for reading only", b.dir)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if created, err = b.put(h, entry); err != nil {
		err = b.obstructed(h, err)
	}
	return created, err
}

// obstructed returns an error that says what is in the place of the blob or its shard, which
// could not be written because of err, or else err.
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
			// It may be from a process that crashed: not known to be durable.
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
		b.made[h[0]] = false // something may have removed the directory
		return false, err
	}
	b.touched = append(b.touched, path, filepath.Dir(path))
	return created, nil
}

// Has reports whether there is a file with the blob's name, whatever its content.
func (b *Blobs) Has(_ context.Context, h Hash) (bool, error) {
	_, err := os.Lstat(filepath.Join(b.dir, BlobPath(h)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}

// Trust says whether any file that the next Put finds was synced: by this object, or before an
// index record that names it. That saves reading the disk.
func (b *Blobs) Trust(synced bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted = synced
}

// holds reports whether the file holds entry: on the disk if it is in doubt, except for bytes
// yet to be written there, whose loss the next sync reports.
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

// Sync makes every blob that was Put durable, and its name. On Linux it is one syncfs, since
// syncing many small files one by one takes many times as long. After an error every blob since
// the last successful Sync is in doubt: a second Sync would succeed although the disk has lost
// them.
func (b *Blobs) Sync(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
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

// Get reads the file. The error wraps ErrNotFound if there is none.
func (b *Blobs) Get(_ context.Context, h Hash, limit int64) ([]byte, error) {
	return b.read(h, limit, false)
}

// read reads at most the first limit bytes of a file, from the disk if disk is true.
func (b *Blobs) read(h Hash, limit int64, disk bool) ([]byte, error) {
	path := filepath.Join(b.dir, BlobPath(h))
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
	// A record with the wrong size takes no more memory than the file.
	entry := make([]byte, min(limit, fi.Size()+1))
	n, err := io.ReadFull(f, entry)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return entry[:n], nil
}

// List lists the files that have the name of a blob, whatever their content. A directory that
// does not exist has none. If something else is in the place of a shard, the others are listed,
// and the error wraps ErrObstructed.
func (b *Blobs) List(ctx context.Context, prefix string, fn func(BlobInfo) error) error {
	var obstructed error
	err := EachShard(b.dir, func(shard string, names []string, err error) error {
		if !strings.HasPrefix(shard, prefix[:min(2, len(prefix))]) {
			return nil
		}
		if errors.Is(err, syscall.ENOTDIR) {
			if obstructed == nil {
				obstructed = fmt.Errorf("%w: %w", ErrObstructed, err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, name := range names {
			hash, ok := ParseBlobPath(shard, name)
			if !ok || !strings.HasPrefix(shard+name, prefix) {
				continue
			}
			fi, err := os.Lstat(filepath.Join(b.dir, shard, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = fn(BlobInfo{Hash: hash, Size: fi.Size(), Modified: fi.ModTime()})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, obstructed)
}

// FindMark is the function FindMark for the directory.
func (b *Blobs) FindMark(context.Context) (id StoreID, ok bool, err error) { return FindMark(b.dir) }

// Mark is the function Mark for the directory.
func (b *Blobs) Mark(_ context.Context, id StoreID) error { return Mark(b.dir, id) }

// String returns the path of the directory.
func (b *Blobs) String() string { return b.dir }

// Dir returns the path of the directory of blobs that s is; local is false if it is another
// store.
func Dir(s BlobStore) (dir string, local bool) {
	if d, ok := s.(*Blobs); ok {
		return d.dir, true
	}
	return "", false
}

// Count counts the blobs by their names alone. Anything else in the place of a shard directory
// counts as empty; obstructed describes the first such case.
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

// EachShard calls fn with the names of all files in each existing shard of the directory of
// blobs dir, in ascending order. err says why a shard could not be read to its end; it wraps
// syscall.ENOTDIR if something else is in its place. An error of fn ends the walk and is
// returned. A dir that does not exist, or is Memory, has no blobs.
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
