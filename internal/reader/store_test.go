package reader_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/internal/reader"
	"tcp-log-server/segment"
)

const entries = 200

func entryText(index uint64) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("x", int(index%7)))
}

func appendEntries(t testing.TB, l *engine.Log, from, through uint64) {
	t.Helper()
	for from <= through {
		n := min(1+from%4, through-from+1)
		var body []byte
		for i := range n {
			body = append(append(body, entryText(from+i)...), '\n')
		}
		done := make(chan error, 1)
		l.Append(body, int(n), engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		from += n
	}
}

// build makes a settled store with segments of 1 KiB. If looseMax allows few blobs its segments
// stay; otherwise they are removed as soon as possible, if remove is set.
func build(t testing.TB, looseMax int, remove bool) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter, c.LooseMax = 1024, time.Millisecond, time.Hour, looseMax
	if remove {
		c.RemoveAfter = 0
	}
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	appendEntries(t, l, 1, entries)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := l.Stats(); s.Settled == entries && (!remove || s.Segments == 1) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the store does not settle")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// treeSum hashes every name, mode, modification time and byte under dir.
func treeSum(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, path, fi.Mode(), fi.ModTime().UnixNano(), fi.Size())
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h.Write(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// contents reads the log in dir and returns the indices that came with an error. All other entries
// must come in order and be as appended.
func contents(t testing.TB, c reader.Config, from, through uint64) (head uint64, bad []uint64) {
	t.Helper()
	before := treeSum(t, c.Data)
	l, err := reader.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	next := from
	err = l.Read(context.Background(), from, through, func(index uint64, entry []byte, _ int64, err error) error {
		if index != next {
			t.Fatalf("index %d came where %d should", index, next)
		}
		next++
		if err != nil {
			if !errors.Is(err, reader.ErrDamaged) && !errors.Is(err, reader.ErrLost) {
				t.Errorf("index %d: %v wraps neither ErrDamaged nor ErrLost", index, err)
			}
			bad = append(bad, index)
		} else if string(entry) != entryText(index) {
			t.Errorf("index %d reads %s, want %s", index, entry, entryText(index))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := min(through, l.Head()) + 1; next != want && from < want {
		t.Errorf("the read ended before index %d, want %d", next, want)
	}
	if after := treeSum(t, c.Data); after != before {
		t.Error("the read has changed the directory")
	}
	return l.Head(), bad
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	firsts, err := segment.List(filepath.Join(dir, "segments"))
	must(t, err)
	for _, first := range firsts {
		paths = append(paths, filepath.Join(dir, "segments", segment.Name(first)))
	}
	return paths
}

func edit(t testing.TB, path string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, fn(b), 0o600))
}

// flip alters one byte of text in the file.
func flip(t testing.TB, path, text string, at int) {
	t.Helper()
	edit(t, path, func(b []byte) []byte {
		i := bytes.Index(b, []byte(text))
		if i < 0 {
			t.Fatalf("%s does not hold %s", path, text)
		}
		b[i+at] ^= 1
		return b
	})
}

func holding(t testing.TB, dir, text string) string {
	t.Helper()
	for _, path := range files(t, dir) {
		b, err := os.ReadFile(path)
		must(t, err)
		if bytes.Contains(b, []byte(text)) {
			return path
		}
	}
	t.Fatalf("no segment holds %s", text)
	return ""
}
