package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// fileBucket is a directory, usually of a mounted share. It opens the directory for each operation:
// an open one would keep an unmounted share busy. os.Root keeps every access inside the directory,
// whatever names and links it has.
//
// Names that begin with a dot are not objects: idName identifies the directory, and unfinished
// holds the objects that are being written.
type fileBucket struct {
	place
	opts  Options
	limit *limiter

	mu    sync.Mutex
	id    string          // of the directory, "" while unknown
	dirs  map[string]bool // directories known to be durable
	swept bool            // whether this process has removed leftovers of crashes
}

const (
	idName     = ".bucket"
	unfinished = ".unfinished"
)

func openFile(dir string, o Options) (*fileBucket, error) {
	b := &fileBucket{place: place{dir: dir}, opts: o, limit: newLimiter(o.Rate), dirs: make(map[string]bool)}
	root, err := b.open()
	if err != nil {
		return nil, failed(b, "open", "", err)
	}
	defer root.Close()
	id, err := readID(root)
	if err != nil {
		return nil, failed(b, "open", "", err)
	}
	b.id = id
	return b, nil
}

// open opens the directory. If it is not the same one as before, the share was probably unmounted.
// Then writes would go to the wrong place, and a missing object may still be in the share.
func (b *fileBucket) open() (*os.Root, error) {
	root, err := os.OpenRoot(b.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s does not exist", ErrNoBucket, b.dir)
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %s is not a directory", ErrNoBucket, b.dir)
	case err != nil:
		return nil, sentinel(err)
	}
	b.mu.Lock()
	want := b.id
	b.mu.Unlock()
	if want == "" {
		return root, nil
	}
	id, err := readID(root)
	if err == nil && id != want {
		err = fmt.Errorf("%w: %s has id %q and had %q: is the share mounted?", ErrNoBucket, path.Join(b.dir, idName), id, want)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// readID returns the directory's id, or "" if it has none yet.
func readID(root *os.Root) (string, error) {
	id, err := root.ReadFile(idName)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(string(id), "\n"), sentinel(err)
}

// do calls fn with the opened directory, and adds to its error what was asked.
func (b *fileBucket) do(ctx context.Context, op, key string, fn func(root *os.Root) error) error {
	err := ctx.Err()
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return failed(b, op, key, err)
	}
	root, err := b.open()
	if err != nil {
		return failed(b, op, key, err)
	}
	defer root.Close()
	if err := fn(root); err != nil {
		return failed(b, op, key, sentinel(err))
	}
	return nil
}

// sentinel makes err wrap this package's errors too.
func sentinel(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// openObject opens the object's file, if it is a regular file.
func openObject(root *os.Root, key string) (*os.File, os.FileInfo, error) {
	if _, err := statObject(root, key); err != nil {
		return nil, nil, err
	}
	f, err := root.Open(key)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat() // again: another object may have replaced it
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// statObject returns an error that is fs.ErrNotExist unless there is a regular file.
func statObject(root *os.Root, key string) (os.FileInfo, error) {
	fi, err := root.Stat(key)
	if errors.Is(err, syscall.ENOTDIR) || err == nil && !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "stat", Path: key, Err: fs.ErrNotExist}
	}
	return fi, err
}

// Get implements Bucket.
func (b *fileBucket) Get(ctx context.Context, key string, offset, length int64) (r io.ReadCloser, err error) {
	err = b.do(ctx, "get", key, func(root *os.Root) error {
		f, fi, err := openObject(root, key)
		if err != nil {
			return err
		}
		if length < 0 {
			length = fi.Size() - offset
		}
		if offset < 0 || length < 0 || offset > fi.Size()-length {
			f.Close()
			return shortObject(offset, length, fi.Size())
		}
		r = &fileReader{ctx: ctx, f: f, b: b, key: key, at: offset, left: length}
		return nil
	})
	return r, err
}

// shortObject returns the error of a Get beyond the end of the object.
func shortObject(offset, length, size int64) error {
	return fmt.Errorf("%w: asked for %d bytes from %d on, the object has %d", io.ErrUnexpectedEOF, length, offset, size)
}

// fileReader reads a range of an object.
type fileReader struct {
	ctx      context.Context
	f        *os.File
	b        *fileBucket
	key      string
	at, left int64
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, failed(r.b, "read", r.key, err)
	}
	n, err := r.f.ReadAt(p[:min(int64(len(p)), r.left)], r.at)
	r.at += int64(n)
	r.left -= int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF // the file was truncated
	}
	return 0, failed(r.b, "read", r.key, err)
}

func (r *fileReader) Close() error { return r.f.Close() }

// Stat implements Bucket.
func (b *fileBucket) Stat(ctx context.Context, key string) (o Object, err error) {
	err = b.do(ctx, "stat", key, func(root *os.Root) error {
		fi, err := statObject(root, key)
		if err == nil {
			o = Object{Key: key, Size: fi.Size(), Modified: fi.ModTime()}
		}
		return err
	})
	return o, err
}

// Delete implements Bucket. It leaves directories: someone else may be about to write there.
func (b *fileBucket) Delete(ctx context.Context, key string) error {
	return b.do(ctx, "delete", key, func(root *os.Root) error {
		if _, err := statObject(root, key); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		err := changeNames(root, path.Dir(key), func(*os.File) error { return root.Remove(key) })
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// List implements Bucket.
func (b *fileBucket) List(ctx context.Context, prefix, after string, fn func(Object) error) error {
	root, err := b.open()
	if err != nil {
		return failed(b, "list", prefix, err)
	}
	defer root.Close()
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1] // directory of the keys with that prefix
	if dir != "" && checkKey(strings.TrimSuffix(dir, "/")) != nil {
		return nil // no key has that prefix
	}
	l := lister{ctx: ctx, root: root, prefix: prefix, after: after, fn: fn}
	err = l.list(dir)
	if err != nil && !l.stopped {
		err = failed(b, "list", prefix, sentinel(err))
	}
	return err
}

type lister struct {
	ctx           context.Context
	root          *os.Root
	prefix, after string
	fn            func(Object) error
	stopped       bool // by an error from fn
}

// list lists the objects under dir, which is "" or ends in a slash.
func (l *lister) list(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	d, err := l.root.Open("./" + dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // it was removed, or is an object
	} else if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := dir + e.Name()
		switch {
		case checkKey(key) != nil: // not ours
		case e.IsDir():
			key += "/" // so that the keys sort correctly
			if (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) &&
				(key > l.after || strings.HasPrefix(l.after, key)) {
				keys = append(keys, key)
			}
		case strings.HasPrefix(key, l.prefix) && key > l.after:
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if strings.HasSuffix(key, "/") {
			err = l.list(key)
		} else {
			err = l.object(key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) object(key string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	fi, err := statObject(l.root, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	} else if err != nil {
		return err
	}
	if err := l.fn(Object{Key: key, Size: fi.Size(), Modified: fi.ModTime()}); err != nil {
		l.stopped = true
		return err
	}
	return nil
}
