package repair

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// clean moves away whatever is in the wrong place.
func (r *Repair) clean() error {
	wrong := r.plan.Wrong
	if r.other != nil {
		wrong = append(wrong, r.plan.Links...)
	}
	for _, path := range wrong {
		if err := r.takeAway(path); err != nil {
			return err
		}
	}
	for _, s := range r.segs {
		if s.Header.First > 0 && s.Header.First != s.First && s.Header.Store == r.id {
			if err := r.rightName(s.Path, s.Header.First); err != nil {
				return err
			}
		}
	}
	for _, path := range r.plan.Strays {
		if h, ok := readHeader(path); ok && h.Store == r.id && filepath.Dir(path) == filepath.Clean(r.Segments()) && filepath.Base(path) != segment.NextName && filepath.Base(path) != segment.RepairName {
			if err := r.rightName(path, h.First); err != nil {
				return err
			}
			continue
		}
		if err := r.moveAway(Step{File: path, Message: "it does not belong to the log"}, "does not belong to the log"); err != nil {
			return err
		}
	}
	if err := r.moveAll(r.plan.Residues, "it is empty, and the segment before it has its indices", "a segment that was begun and never used"); err != nil {
		return err
	}
	for path, end := range r.plan.Tails {
		message, why := "the bytes after it were never acknowledged", "a write that was cut short"
		if r.Outcome.GivenUp > 0 {
			message, why = "no entry can be read after it", "remains of entries that were given up"
		}
		if err := r.cutOff(Step{File: path, Message: fmt.Sprintf("at offset %d: %s", end, message)}, end, why); err != nil {
			return err
		}
	}
	return r.mark()
}

// takeAway moves away anything that is not a regular file. It replaces a link to a
// file by a copy of the file.
func (r *Repair) takeAway(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	to, err := os.Stat(path)
	if fi.Mode()&fs.ModeSymlink == 0 || err != nil || !to.Mode().IsRegular() {
		what := TypeName(fi.Mode())
		return r.moveAway(Step{File: path, Message: "it is " + what}, "was "+what)
	}
	target, _ := os.Readlink(path)
	return r.do(Step{Action: "copy", File: path, Message: "in place of the link to " + target}, func() error {
		tmp := filepath.Join(filepath.Dir(path), segment.RepairName)
		if err := copyFile(path, tmp); err != nil {
			return err
		}
		return r.rename(tmp, path)
	})
}

// copyFile copies the file that a link at from leads to, durably, into the file to.
func copyFile(from, to string) error {
	in, err := segment.OpenRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// rightName gives a segment the name that its header says, or moves it away if another
// file has that name rightly.
func (r *Repair) rightName(path string, first uint64) error {
	want := filepath.Join(r.Segments(), segment.Name(first))
	if _, err := os.Lstat(want); errors.Is(err, fs.ErrNotExist) {
		return r.do(Step{Action: "rename", File: path, First: first, Message: "to " + want + ", which its header says"}, func() error {
			return r.rename(path, want)
		})
	}
	if h, ok := readHeader(want); ok && h.First != first {
		// It is misplaced as well: move it out of the way. The next round continues from
		// there.
		return r.do(Step{Action: "rename", File: path, First: first, Message: "out of the way, for the segment that has this name"}, func() error {
			return r.rename(path, path+".misplaced")
		})
	}
	name := segment.Name(first)
	return r.moveAway(Step{File: path, First: first, Message: "its header says " + name + ", which exists"}, "the header says that it is "+name)
}

// readHeader reads the header of a file that may be a segment.
func readHeader(path string) (segment.Header, bool) {
	if notFile(path) {
		return segment.Header{}, false
	}
	b := make([]byte, segment.HeaderSize)
	f, err := segment.OpenRegular(path)
	if err != nil {
		return segment.Header{}, false
	}
	defer f.Close()
	n, _ := f.ReadAt(b, 0)
	h, err := segment.ParseHeader(b[:n])
	return h, err == nil
}

// notFile reports whether no regular file is at path.
func notFile(path string) bool {
	fi, err := os.Lstat(path)
	return err != nil || !fi.Mode().IsRegular()
}

// mark marks directories that have lost their marks.
func (r *Repair) mark() error {
	// The server marks a store that is not a directory before it puts anything there.
	for _, dir := range []string{r.WAL, r.Blobs} {
		if dir == segment.Memory {
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if _, ok, err := segment.FindMark(dir); ok || err != nil {
			continue
		}
		err := r.do(Step{Action: "mark", File: dir, Message: "as part of store " + r.id.String()}, func() error {
			return r.change(func() error { return segment.Mark(dir, r.id) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}
