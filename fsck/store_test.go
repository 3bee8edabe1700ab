package fsck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// shape says what kind of store a test works on.
type shape string

const (
	// both: every entry is in a segment and in a blob, and has a record.
	both shape = "both"
	// removed: the oldest segments are gone, their entries are only in blobs.
	removed shape = "removed"
	// packed: there are no blobs.
	packed shape = "packed"
)

// entryText returns the entry that the stores of these tests have at index. Every fifth
// is the same as the one before.
func entryText(index uint64) string {
	if index%5 == 0 {
		index--
	}
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("x", int(index%7)))
}

// appendEntries appends the entries from..through, a few to a batch.
func appendEntries(t testing.TB, l *engine.Log, from, through uint64) {
	t.Helper()
	for from <= through {
		n := min(1+from%4, through-from+1)
		var body []byte
		for i := range n {
			body = append(append(body, entryText(from+i)...), '\n')
		}
		done := make(chan error, 1)
		l.Append(body, int(n), engine.Condition{}, func(stored engine.Result, err error) {
			if err == nil && stored.First != from {
				err = fmt.Errorf("appended at %d, want %d", stored.First, from)
			}
			done <- err
		})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		from += n
	}
}

// await polls until ok, and fails the test when that takes too long.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (s shape) config(dir string) engine.Config {
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter = 1024, time.Millisecond, time.Hour
	switch s {
	case removed:
		c.RemoveAfter = 0
	case packed:
		c.LooseMax = 0
	}
	return c
}

// storeEntries is how many entries the stores have.
const storeEntries = 60

var templates struct {
	sync.Mutex
	dir   string
	built map[shape]string
}

// TestMain makes room for the stores that tests copy: in memory, if the system has such a
// directory, since they are synced all the time.
func TestMain(m *testing.M) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	dir, err := os.MkdirTemp("", "fsck-stores-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	templates.dir, templates.built = dir, map[shape]string{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// newStore returns a directory with a good store of the shape.
func newStore(t testing.TB, s shape) string {
	t.Helper()
	templates.Lock()
	defer templates.Unlock()
	if templates.built[s] == "" {
		dir := filepath.Join(templates.dir, string(s))
		buildStore(t, s.config(dir), storeEntries, func(st engine.Stats) bool {
			return s != removed || st.Segments == 1
		})
		templates.built[s] = dir
	}
	dir := filepath.Join(t.TempDir(), "data")
	copyTree(t, templates.built[s], dir)
	return dir
}

// buildStore makes a store with n entries, settled.
func buildStore(t testing.TB, c engine.Config, n uint64, ready func(engine.Stats) bool) {
	t.Helper()
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	appendEntries(t, l, 1, n)
	await(t, "the store to settle", func() bool {
		st := l.Stats()
		return (c.WAL == engine.Memory || st.Settled == n) && ready(st)
	})
	must(t, l.Close())
	unprove(t, c.Data)
}

// unprove leaves the last segment in dir as an immediate crash does: with no proof of its
// end.
func unprove(t testing.TB, dir string) {
	t.Helper()
	files := segmentFiles(t, dir)
	last, err := segment.CaptureFile(files[len(files)-1])
	must(t, err)
	if !last.Sealed {
		must(t, os.Truncate(last.Path, last.End))
	}
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// readStart reads a file as far as it has data: it may be swollen.
func readStart(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	must(t, err)
	return b
}

// treeSum hashes every name, type, permission and byte below dir.
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
		fmt.Fprintf(h, "%s %v %d %v\n", path, fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			h.Write(readStart(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// checked is the result of a check.
type checked struct {
	Summary
	findings []Finding
	plan     *repair.Plan
}

func (c checked) has(k Kind) bool {
	for _, f := range c.findings {
		if f.Kind == k {
			return true
		}
	}
	return false
}

func (c checked) String() string {
	var b bytes.Buffer
	p := NewPrinter(&b, false)
	for _, f := range c.findings {
		p.Finding(f)
	}
	return b.String()
}

// runCheck checks the store in dir and fails the test if that cannot be done.
func runCheck(t testing.TB, o Options) checked {
	t.Helper()
	var c checked
	o.OnFinding = func(f Finding) { c.findings = append(c.findings, f) }
	var err error
	if c.Summary, c.plan, err = check(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	return c
}

// served is what an open log returns for its entries: their text, or "" and an error.
func served(t testing.TB, c engine.Config) (entries map[uint64]string, errs map[uint64]error, err error) {
	t.Helper()
	l, err := engine.Open(c)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	entries, errs = map[uint64]string{}, map[uint64]error{}
	head, _ := l.Head(context.Background())
	err = l.Read(context.Background(), 1, head, func(first uint64, count int, run []byte, _ int64, err error) error {
		for i := range uint64(count) {
			if err != nil {
				errs[first+i] = err
				continue
			}
			line, rest, _ := bytes.Cut(run, []byte{'\n'})
			entries[first+i], run = string(line), rest
		}
		return nil
	})
	return entries, errs, err
}

// names lists the files below dir, relative to it.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// blobOf returns the path of the blob of the entry at index.
func blobOf(dir string, index uint64) string {
	return filepath.Join(dir, "blobs", segment.BlobPath(segment.Sum([]byte(entryText(index)))))
}

// segmentFiles lists the paths of the segments.
func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	firsts, err := segment.List(segmentDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, first := range firsts {
		paths = append(paths, filepath.Join(segmentDir(dir), segment.Name(first)))
	}
	return paths
}

// openFor opens a log and fails the test if that cannot be done.
func openFor(t testing.TB, c engine.Config) *engine.Log {
	t.Helper()
	l, err := engine.Open(c)
	must(t, err)
	return l
}
