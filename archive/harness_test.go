package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// entryText is the entry of index.
func entryText(index uint64) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("x", int(index%97)))
}

// testLog is a log with small segments.
type testLog struct {
	*engine.Log
	dir string
}

func openLog(t testing.TB, dir string, change func(*engine.Config)) *testLog {
	t.Helper()
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter, c.LooseMax = 4096, time.Millisecond, time.Hour, 0
	if change != nil {
		change(&c)
	}
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &testLog{l, dir}
}

// add appends entries through the given index, in batches of 1 to 4.
func (l *testLog) add(t testing.TB, through uint64) {
	t.Helper()
	head, _ := l.Head(context.Background())
	for from := head + 1; from <= through; {
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

// sealed waits until all segments except the last are sealed.
func (l *testLog) sealed(t testing.TB) {
	t.Helper()
	until(t, "the segments are not sealed", func() bool {
		segs := l.Segments()
		for _, s := range segs[:len(segs)-1] {
			if !s.Sealed() {
				return false
			}
		}
		return true
	})
}

// settled waits until everything is settled.
func (l *testLog) settled(t testing.TB) {
	t.Helper()
	until(t, "the log is not settled", func() bool { s := l.Stats(); return s.Settled == s.Head })
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func openBucket(t testing.TB, dir string) bucket.Bucket {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	b, err := bucket.Open(context.Background(), (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String(), bucket.Options{})
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newKeeper returns a keeper whose rounds the test runs.
func newKeeper(l *testLog, b bucket.Bucket) *Keeper {
	k := New(Config{Bucket: b, Dirs: segment.Dirs{Data: l.dir}, Every: time.Hour})
	k.log = l
	return k
}

// archiveOnce runs a round of a new keeper.
func archiveOnce(t testing.TB, l *testLog, b bucket.Bucket) *Keeper {
	t.Helper()
	k := newKeeper(l, b)
	must(t, k.remember())
	must(t, k.round(context.Background()))
	return k
}

// check checks the archive and returns the findings.
func check(t testing.TB, b bucket.Bucket, through uint64) (fsck.Summary, []fsck.Finding) {
	t.Helper()
	a, err := Open(context.Background(), b)
	must(t, err)
	var found []fsck.Finding
	sum, err := a.Check(context.Background(), CheckOptions{Through: through, OnFinding: func(f fsck.Finding) { found = append(found, f) }})
	must(t, err)
	return sum, found
}

// whole checks that the archive is complete and has the first entries of a log as entryText makes
// them, and returns how many it has.
func whole(t testing.TB, b bucket.Bucket) (head uint64) {
	t.Helper()
	sum, found := check(t, b, 0)
	for _, f := range found {
		t.Errorf("archive: %+v", f)
	}
	a, err := Open(context.Background(), b)
	must(t, err)
	if a.Head() != sum.Entries {
		t.Errorf("the archive ends at %d, and has %d entries", a.Head(), sum.Entries)
	}
	reads(t, a, 1, sum.Entries)
	return sum.Entries
}

func reads(t testing.TB, a *Archive, from, through uint64) {
	t.Helper()
	next := from
	must(t, a.Read(context.Background(), from, through, func(index uint64, entry []byte, at int64, err error) error {
		if index != next || err != nil || string(entry) != entryText(index) || at == 0 {
			t.Fatalf("entry %d comes as %d: %q, %d, %v", next, index, entry, at, err)
		}
		next++
		return nil
	}))
	if next != through+1 {
		t.Errorf("a read of %d to %d ends before %d", from, through, next)
	}
}

// digest returns fsck's digest of a directory, which must be intact.
func digest(t testing.TB, dir string, through uint64) string {
	t.Helper()
	sum, err := fsck.Check(context.Background(), fsck.Options{Data: dir, Through: through, OnFinding: func(f fsck.Finding) {
		if f.Severity == fsck.Error {
			t.Errorf("%s: %+v", dir, f)
		}
	}})
	must(t, err)
	return sum.Digest
}

// restored restores to a new directory, checks it and returns it.
func restored(t testing.TB, b bucket.Bucket, config RestoreConfig) (Restored, string) {
	t.Helper()
	if config.Dir == "" {
		config.Dir = filepath.Join(t.TempDir(), "restored")
	}
	res, err := Restore(context.Background(), b, config)
	must(t, err)
	if got := digest(t, config.Dir, 0); got != res.Digest || got == "" {
		t.Errorf("restored with digest %q, fsck says %q", res.Digest, got)
	}
	l := openLog(t, config.Dir, nil)
	defer l.Close()
	if head, _ := l.Head(context.Background()); head != res.Head {
		t.Errorf("restored through %d, the log ends at %d", res.Head, head)
	}
	l.add(t, res.Head+3)
	next := uint64(1)
	must(t, l.Read(context.Background(), 1, res.Head+3, func(first uint64, count int, entries []byte, _ int64, err error) error {
		must(t, err)
		for line := range strings.Lines(string(entries)) {
			if line != entryText(next)+"\n" {
				t.Fatalf("entry %d is %s", next, line)
			}
			next++
		}
		return nil
	}))
	if next != res.Head+4 {
		t.Errorf("the restored log has entries through %d, want %d", next-1, res.Head+3)
	}
	return res, config.Dir
}

// errKilled is the error of a bucket that a test has cut off.
var errKilled = errors.New("killed")

// fragile is a bucket that fails at call number at, counted from 1, either before or after the call
// takes effect, and, if it is dead, at all later calls.
type fragile struct {
	bucket.Bucket
	mu    sync.Mutex
	calls int
	at    int
	done  bool // the call takes effect, and its answer is lost
	dead  bool
}

// fails counts a call that changes the bucket.
func (f *fragile) fails() (fail, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.at > 0 && (f.calls == f.at || f.dead && f.calls > f.at), f.calls == f.at
}

func (f *fragile) Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error {
	fail, first := f.fails()
	if fail && !(first && f.done) {
		return errKilled
	}
	if err := f.Bucket.Put(ctx, key, content, size, create); err != nil {
		return err
	}
	if fail {
		return errKilled
	}
	return nil
}

func (f *fragile) Delete(ctx context.Context, key string) error {
	fail, first := f.fails()
	if fail && !(first && f.done) {
		return errKilled
	}
	if err := f.Bucket.Delete(ctx, key); err != nil {
		return err
	}
	if fail {
		return errKilled
	}
	return nil
}

// flip flips a bit of the byte at off in a file.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	must(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b[:], off)
	must(t, err)
}
