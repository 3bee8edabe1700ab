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
	filePerm = 0o600 // only the owner may read a log
	dirPerm  = 0o700
	// chunk is how much is written at a time, and between two looks at the rate.
	chunk = 256 << 10
	// abandoned is the age at which an unfinished object is taken for what a crash left. Who
	// still writes one that has not changed for so long has to begin again.
	abandoned = 24 * time.Hour
)

// Put implements Bucket: it writes a file of another name, fsync, then link or rename to the
// object's name, and fsync of the directory.
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

// found returns ErrExists once the object's name is durable: who put it may not have got so far.
func (b *fileBucket) found(root *os.Root, key string) error {
	if err := changeNames(root, path.Dir(key), func(*os.File) error { return nil }); err != nil {
		return err
	}
	return ErrExists
}

// put is Put once the directories are there.
func (b *fileBucket) put(ctx context.Context, root *os.Root, key string, content io.ReaderAt, size int64, create bool) error {
	name := unfinished + "/" + rand.Text()
	err := b.write(ctx, root, name, content, size)
	if err == nil {
		err = changeNames(root, path.Dir(key), func(dir *os.File) error {
			return move(root, name, dir, key, create)
		})
	}
	// After a rename it is gone. One that cannot be removed is swept some day.
	_ = root.Remove(name)
	return err
}

// write makes a durable file of the content; the name becomes durable with the object's.
func (b *fileBucket) write(ctx context.Context, root *os.Root, name string, content io.ReaderAt, size int64) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	err = b.copy(ctx, f, io.NewSectionReader(content, 0, size), size)
	if err == nil {
		err = f.Sync()
	}
	// A share may have kept an error of writing for this.
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

// contentError is the error of a Put whose content could not be read.
func contentError(err error) error { return fmt.Errorf("the content to put: %w", err) }

// changeNames calls change with the directory dir, open, and then syncs that.
func changeNames(root *os.Root, dir string, change func(dir *os.File) error) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = change(d)
	if err != nil && !errors.Is(err, ErrExists) || runtime.GOOS == "windows" { // which cannot sync a directory
		return err
	}
	return errors.Join(err, d.Sync())
}

// move gives the file name the name key, which lies in dir. If create is true, it returns
// ErrExists if there is one, also if another machine puts it there at the same time.
func move(root *os.Root, name string, dir *os.File, key string, create bool) error {
	if !create {
		return root.Rename(name, key)
	}
	err := root.Link(name, key)
	switch {
	case errors.Is(err, fs.ErrExist):
		// A share that repeats a request whose answer was lost says so of our own link.
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

// prepare makes the directory dir, those above it, the one of unfinished objects and the id,
// whatever is missing, and what was made durable. Once a process it removes what crashes left.
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

// makeDir makes dir and those above it. One that is there is synced too, once a process:
// who made it may not have got so far.
func (b *fileBucket) makeDir(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if b.dirs[dir] {
		if fi, err := root.Stat(dir); err == nil && fi.IsDir() {
			return nil
		}
		clear(b.dirs) // somebody removed directories
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

// makeID gives the directory an id, or takes the one that another gives it.
func (b *fileBucket) makeID(root *os.Root) error {
	id := rand.Text() + "\n"
	err := b.put(context.Background(), root, idName, strings.NewReader(id), int64(len(id)), true)
	if err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	b.id, err = readID(root)
	return err
}

// sweep removes the files of writes that a crash ended. Clocks of machines differ, so their
// age is counted from the time that the share gives to a new file. What fails is left for
// another time.
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
