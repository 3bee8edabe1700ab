package segment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LostFound is the subdirectory of the log's directory for files that were taken out of
// their places.
const LostFound = "lost+found"

// BackupMark is a file that backup creates in a directory that it makes. A server that is
// started there says so: after its first append, the directory is no longer a backup.
const BackupMark = "BACKUP"

// note is a line of lost+found/notes.jsonl, which has one for each file moved or copied
// there, written before the file itself.
type note struct {
	Time time.Time `json:"time"`
	Was  string    `json:"was"`
	Now  string    `json:"now"`
	Why  string    `json:"why"`
}

// aside notes that the file at path is to be in data/lost+found because of why, has put put
// it there, at an unused path, and returns that path. After an error there is neither the
// note nor a part of the file, so that it can be tried again.
func aside(data, path, why string, put func(now string) error) (now string, err error) {
	dir := filepath.Join(data, LostFound)
	if err := MakeDir(dir); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(data, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		rel = filepath.Base(filepath.Dir(path)) + "-" + filepath.Base(path)
	}
	name := strings.ReplaceAll(filepath.ToSlash(rel), "/", "-")
	now = filepath.Join(dir, name)
	for n := 2; ; n++ {
		if _, err := os.Lstat(now); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		now = filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
	}
	f, err := os.OpenFile(filepath.Join(dir, "notes.jsonl"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, filePerm)
	if err != nil {
		return "", err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", err
	}
	line, err := json.Marshal(note{time.Now().UTC(), path, now, why})
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = put(now)
	}
	if err != nil {
		return "", errors.Join(err, f.Truncate(before.Size()))
	}
	return now, nil
}

// MoveAside moves the file at path to data/lost+found, durably, and returns its
// path there.
func MoveAside(data, path, why string) (now string, err error) {
	return aside(data, path, why, func(now string) error {
		err := Rename(path, now)
		if err == nil {
			return nil
		}
		// It may be on another file system.
		fi, serr := os.Lstat(path)
		if serr != nil || !fi.Mode().IsRegular() {
			return err
		}
		if err := copyPart(path, 0, fi.Size(), now); err != nil {
			return err
		}
		return Remove(path)
	})
}

// LinkAside makes a second link to the regular file at path in data/lost+found, or a copy
// if the file system has no links, durably, and returns its path there.
func LinkAside(data, path, why string) (now string, err error) {
	return aside(data, path, why, func(now string) error {
		link := func() error { return os.Link(path, now) }
		if ChangeNames(link, filepath.Dir(now)) == nil {
			return nil
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		return copyPart(path, 0, fi.Size(), now)
	})
}

// CopyAside copies n bytes of the file at path from offset off to a file in
// data/lost+found, durably, and returns that file's path.
func CopyAside(data, path string, off, n int64, why string) (now string, err error) {
	return aside(data, path, why, func(now string) error { return copyPart(path, off, n, now) })
}

// copyPart creates the file at now from n bytes of the file at path, from offset off,
// durably, or not at all.
func copyPart(path string, off, n int64, now string) error {
	return ChangeNames(func() error { return copyBytes(path, off, n, now) }, filepath.Dir(now))
}

func copyBytes(path string, off, n int64, now string) error {
	from, err := openFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(now, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	// A hole in a swollen file stays a hole: there may be no room for its zeros.
	end, buf := off+n, make([]byte, min(n, 1<<20))
	for at := skipHole(from, off); at < end && err == nil; at = skipHole(from, at) {
		var m int
		if m, err = from.ReadAt(buf[:min(int64(len(buf)), end-at)], at); m > 0 {
			_, err = to.WriteAt(buf[:m], at-off)
		}
		at += int64(m)
	}
	if err == nil {
		err = to.Truncate(n)
	}
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		os.Remove(now)
	}
	return err
}
