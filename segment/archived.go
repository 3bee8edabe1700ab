package segment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ArchiveName is the file in a log's directory that says where the log's archive is.
const ArchiveName = "ARCHIVE"

// Archived is the content of that file. The zero Archived stands for no file: the log has no
// archive.
type Archived struct {
	// URL is where the archive is, without secrets, and Instance the random id by which the
	// archive distinguishes this directory from copies of it.
	URL      string `json:"url"`
	Instance string `json:"instance,omitempty"`
	// Through is the last entry whose segment was removed here because the archive has it,
	// 0 if none was.
	Through uint64 `json:"through"`
	// Removed are the runs of entries, first and last, whose segments were removed here because
	// the archive's copies were read back and matched. They ascend, without overlap. A crash
	// can leave the last of these segments in place. Entries before the first segment that are
	// in no run are in blobs.
	Removed []Run `json:"removed,omitempty"`
}

// Run is a run of entries, from the first through the last.
type Run [2]uint64

// ReadArchived reads the file ARCHIVE in the log's directory. Without one the result is zero.
// The error wraps ErrDamaged if WriteArchived did not write the file.
func ReadArchived(data string) (a Archived, err error) {
	path := filepath.Join(data, ArchiveName)
	f, err := OpenRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return a, err
	}
	if err = json.Unmarshal(b, &a); err == nil {
		err = a.check()
	}
	if err != nil {
		return Archived{}, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return a, nil
}

// WriteArchived writes the file ARCHIVE, durably: a crash leaves the old one or this one. Only
// the process that has the log open may call it, from one goroutine at a time.
func WriteArchived(data string, a Archived) error {
	if n := len(a.Removed); n > 0 {
		a.Through = a.Removed[n-1][1]
	}
	if err := a.check(); err != nil {
		return err
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(data, ArchiveName), append(b, '\n'))
}

func (a Archived) check() error {
	if a.URL == "" {
		return errors.New("it names no URL")
	}
	before := uint64(0)
	for _, r := range a.Removed {
		if r[0] <= before || r[1] < r[0] {
			return fmt.Errorf("entries %d to %d come after entry %d in the runs of removed entries", r[0], r[1], before)
		}
		before = r[1]
	}
	if a.Through != before {
		return fmt.Errorf("the entries through %d were removed, the runs end at %d", a.Through, before)
	}
	return nil
}

// Holds reports whether index is in one of the runs, and returns the last index, at most limit,
// for which the answer is the same.
func (a Archived) Holds(index, limit uint64) (ok bool, last uint64) {
	for _, r := range a.Removed {
		switch {
		case index < r[0]:
			return false, min(limit, r[0]-1)
		case index <= r[1]:
			return true, min(limit, r[1])
		}
	}
	return false, limit
}

// Loose calls fn with each run of the entries first..last that is in no run of a. It stops at
// the first error of fn, which it returns.
func (a Archived) Loose(first, last uint64, fn func(first, last uint64) error) error {
	for first <= last {
		ok, through := a.Holds(first, last)
		if !ok {
			if err := fn(first, through); err != nil {
				return err
			}
		}
		first = through + 1
	}
	return nil
}

// Add returns a with the part of the run first..last that lies after all of its runs added.
func (a Archived) Add(first, last uint64) Archived {
	runs := append([]Run(nil), a.Removed...)
	if n := len(runs); n > 0 && first <= runs[n-1][1]+1 {
		runs[n-1][1] = max(runs[n-1][1], last)
	} else {
		runs = append(runs, Run{first, last})
	}
	a.Removed, a.Through = runs, runs[len(runs)-1][1]
	return a
}

// ReplaceFile replaces the small file at path, durably: after a crash path has the old content
// or the new. It writes path.tmp first.
func ReplaceFile(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return Rename(tmp, path)
}
