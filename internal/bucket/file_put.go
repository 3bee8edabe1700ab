package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	filePerm = 0o600 // only its owner may read a log
	dirPerm  = 0o700
	// chunk is how much is written at a time, between two waits for the rate limit.
	chunk = 256 << 10
	// abandoned is the age at which an unfinished object counts as left over from a crash. A writer
	// that has not changed its file for that long must start again.
	abandoned = 24 * time.Hour
)

// Put implements Bucket: it writes a file under another name and syncs it, links or renames it to
// the object's name, and syncs the directory.
func (b *fileBucket) Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error {
	return b.do(ctx, "put", key, func(root *os.Root) error {
		if create {
			if _, err := statObject(root, key); err == nil {
				return b.found(root, key)
			}
		}
		if err := b.prepare(root, path.Dir(key)); err != nil {
			return err
		}
		return b.put(ctx, root, key, content, size, create)
	})
}

// found returns ErrExists once the object's name is durable, because the other writer may not have
// synced it yet.
func (b *fileBucket) found(root *os.Root, key string) error {
	if err := changeNames(root, path.Dir(key), func(*os.File) error { return nil }); err != nil {
		return err
	}
	return ErrExists
}

// put is Put after the directories exist.
func (b *fileBucket) put(ctx context.Context, root *os.Root, key string, content io.ReaderAt, size int64, create bool) error {
	name := unfinished + "/" + rand.Text()
	err := b.write(ctx, root, name, content, size)
	if err == nil {
		err = changeNames(root, path.Dir(key), func(dir *os.File) error {
			return move(root, name, dir, key, create)
		})
	}
	// After a rename the file is gone. If it cannot be removed, a later sweep does that.
	_ = root.Remove(name)
	return err
}

// write creates a durable file with the content; its name becomes durable with the object's.
func (b *fileBucket) write(ctx context.Context, root *os.Root, name string, content io.ReaderAt, size int64) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	err = b.copy(ctx, f, io.NewSectionReader(content, 0, size), size)
	if err == nil {
		err = f.Sync()
	}
	// A share may report a write error only here.
	return errors.Join(err, f.Close())
}

func (b *fileBucket) copy(ctx context.Context, f *os.File, r io.Reader, size int64) error {
	buf := make([]byte, min(size, chunk))
	for size > 0 {
		n := int(min(size, chunk))
		if err := errors.Join(ctx.Err(), b.limit.wait(ctx, n)); err != nil {
			return err
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return contentError(err)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// contentError is the error of a Put whose content is unreadable.
func contentError(err error) error { return fmt.Errorf("the content to put: %w", err) }

// changeNames calls change with the opened directory dir, and then syncs it.
func changeNames(root *os.Root, dir string, change func(dir *os.File) error) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = change(d)
	if err != nil && !errors.Is(err, ErrExists) || runtime.GOOS == "windows" { // Windows cannot sync a directory
		return err
	}
	return errors.Join(err, d.Sync())
}

// move renames the file name to key, which is in dir. If create is true, it returns ErrExists if
// key exists, even if another machine creates it at the same time.
func move(root *os.Root, name string, dir *os.File, key string, create bool) error {
	if !create {
		return root.Rename(name, key)
	}
	err := root.Link(name, key)
	switch {
	case errors.Is(err, fs.ErrExist):
		// A share that repeats a request after a lost answer reports our own link.
		if !sameFile(root, name, key) {
			return ErrExists
		}
		return nil
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EMLINK):
		err := renameNew(root, name, dir, path.Base(key)) // a file system without links
		if errors.Is(err, fs.ErrExist) {
			return ErrExists
		}
		return err
	}
	return err
}

func sameFile(root *os.Root, a, b string) bool {
	fa, errA := root.Lstat(a)
	fb, errB := root.Lstat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// prepare creates the ID, the directory of unfinished objects, and dir and its parents, as far as
// they are missing, and makes them durable. Once per process it also removes the leftovers of
// crashes.
func (b *fileBucket) prepare(root *os.Root, dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.makeDir(root, unfinished); err != nil {
		return err
	}
	if b.id == "" {
		if err := b.makeID(root); err != nil {
			return err
		}
	}
	if !b.swept {
		b.swept = true
		b.sweep(root)
	}
	return b.makeDir(root, dir)
}

// makeDir creates dir and its parents. Once per process it also syncs an existing directory,
// because whoever created it may not have done so yet.
func (b *fileBucket) makeDir(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if b.dirs[dir] {
		if fi, err := root.Stat(dir); err == nil && fi.IsDir() {
			return nil
		}
		clear(b.dirs) // directories were removed
	}
	parent := path.Dir(dir)
	if err := b.makeDir(root, parent); err != nil {
		return err
	}
	err := changeNames(root, parent, func(*os.File) error {
		if err := root.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
	if err == nil {
		b.dirs[dir] = true
	}
	return err
}

// makeID gives the directory an ID, or reads the one that another process has given it.
func (b *fileBucket) makeID(root *os.Root) error {
	id := rand.Text() + "\n"
	err := b.put(context.Background(), root, idName, strings.NewReader(id), int64(len(id)), true)
	if err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	b.id, err = readID(root)
	return err
}

// sweep removes the files of writes that a crash ended. The clocks of machines differ, so it
// compares their times with the one that the share gives a new file. Errors are left for the next
// sweep.
func (b *fileBucket) sweep(root *os.Root) {
	name := unfinished + "/" + rand.Text()
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return
	}
	fi, err := f.Stat()
	f.Close()
	defer root.Remove(name)
	if err != nil {
		return
	}
	dir, err := root.Open(unfinished)
	if err != nil {
		return
	}
	defer dir.Close()
	files, _ := dir.Readdir(-1)
	for _, old := range files {
		if fi.ModTime().Sub(old.ModTime()) > abandoned {
			_ = root.Remove(unfinished + "/" + old.Name())
		}
	}
}
