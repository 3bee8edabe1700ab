package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Suffix is the end of a segment's file name, after the 20 decimal digits of its first
// index.
const Suffix = ".seg"

// NextName is the file in which the next segment is prepared. It never holds acknowledged
// data: one that is found at a start is a leftover.
const NextName = "next.tmp"

// The log's files hold its users' data: nobody else may read them.
const (
	dirPerm  = 0o700
	filePerm = 0o600
)

// Name returns the file name of the segment whose first index is first.
func Name(first uint64) string { return fmt.Sprintf("%020d%s", first, Suffix) }

// ParseName is the inverse of Name; ok is false for any other file name.
func ParseName(name string) (first uint64, ok bool) {
	digits, found := strings.CutSuffix(name, Suffix)
	if !found || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0
}

// List returns the first indices of the segment files in dir in ascending order. A
// directory that does not exist has none.
func List(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		if first, ok := ParseName(e.Name()); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// MakeDir creates dir and any missing parents, and syncs the parent of each directory
// that it created, so that a crash cannot remove it.
func MakeDir(dir string) error {
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MakeDir(parent); err != nil {
			return err
		}
	}
	return ChangeNames(func() error {
		if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}, parent)
}

// markPrefix begins the name of the directory that marks a directory as part of a store.
// A mark is a directory rather than a file so that the blob directory has no files except
// blobs, and tidwall/wal skips it. It contains a file so that a job that removes empty
// directories leaves it alone.
const (
	markPrefix = "store-"
	markFile   = "README"
	markText   = "The directory above belongs to the store that this one is named after. See docs/FORMAT.md.\n"
)

// parseMark returns the id in the name of a mark.
func parseMark(name string) (id StoreID, ok bool) {
	digits, found := strings.CutPrefix(name, markPrefix)
	raw, err := hex.DecodeString(digits)
	if !found || err != nil || len(raw) != len(id) {
		return id, false
	}
	return StoreID(raw), true
}

// FindMark returns the id that dir is marked with; ok is false if it has no mark or does
// not exist. Two marks are an error that wraps ErrDamaged.
func FindMark(dir string) (id StoreID, ok bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	for _, e := range entries {
		found, is := parseMark(e.Name())
		switch {
		case !is || !e.IsDir():
		case ok:
			return id, true, fmt.Errorf("%w: %s is marked as part of two stores, %s and %s", ErrDamaged, dir, id, found)
		default:
			id, ok = found, true
		}
	}
	return id, ok, nil
}

// Mark makes sure that dir is marked with id: it marks a directory that has no mark, and
// refuses one that is marked with another id.
func Mark(dir string, id StoreID) error {
	found, ok, err := FindMark(dir)
	if err != nil {
		return err
	}
	if ok {
		if found != id {
			return fmt.Errorf("%s belongs to store %s, want %s: is it the directory of another log?", dir, found, id)
		}
	} else if err := ChangeNames(func() error { return os.Mkdir(filepath.Join(dir, markPrefix+id.String()), dirPerm) }, dir); err != nil {
		return err
	}
	file := filepath.Join(dir, markPrefix+id.String(), markFile)
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		_ = os.WriteFile(file, []byte(markText), 0o600) // if there is no room for it, the mark is just as good
	}
	return nil
}

// IsMark reports whether name is a mark's.
func IsMark(name string) bool {
	_, ok := parseMark(name)
	return ok
}
