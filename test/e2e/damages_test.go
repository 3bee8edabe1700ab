package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/reader"
	"tcp-log-server/segment"
)

// damageEntries is how many entries the stores of this file have.
const damageEntries = 60

func damageEntry(index uint64) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("x", int(index%7)))
}

// damagedStore is a store that a test may damage.
type damagedStore struct {
	t   *testing.T
	dir string
}

// makeDamageStore makes a settled store and closes it.
func makeDamageStore(t *testing.T, change func(c *engine.Config)) damagedStore {
	t.Helper()
	s := damagedStore{t, filepath.Join(quickDir(t), "data")}
	c := engine.NewConfig(s.dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter, c.LooseMax = 1024, time.Millisecond, time.Hour, 0
	change(&c)
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); next <= damageEntries; {
		n := min(1+next%5, damageEntries+1-next)
		var body []byte
		for i := range n {
			body = append(append(body, damageEntry(next+i)...), '\n')
		}
		done := make(chan error, 1)
		l.Append(body, int(n), engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		next += n
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		st := l.Stats()
		if st.Unsettled == 0 && (c.RemoveAfter > 0 || st.Segments == 1) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store does not settle: %+v", st)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// quickDir is a temporary directory, in memory if the system has such a file system: these
// tests make hundreds of stores, and do not depend on syncs.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tcp-log-server-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s damagedStore) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s damagedStore) copy(t *testing.T) damagedStore {
	to := damagedStore{t, filepath.Join(quickDir(t), "data")}
	to.must(os.CopyFS(to.dir, os.DirFS(s.dir)))
	return to
}

func (s damagedStore) edit(path string, fn func(b []byte) []byte) {
	b, err := os.ReadFile(path)
	s.must(err)
	s.must(os.WriteFile(path, fn(b), 0o600))
}

func (s damagedStore) records() string { return filepath.Join(s.dir, "wal", "00000000000000000001") }

func (s damagedStore) blob(index uint64) string {
	return filepath.Join(s.dir, "blobs", segment.BlobPath(segment.Sum([]byte(damageEntry(index)))))
}

// segments are the paths of the first segment, one in the middle, and the last.
func (s damagedStore) segments() []string {
	dir := filepath.Join(s.dir, "segments")
	firsts, err := segment.List(dir)
	s.must(err)
	var paths []string
	for _, i := range []int{0, len(firsts) / 2, len(firsts) - 1} {
		if path := filepath.Join(dir, segment.Name(firsts[i])); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// batches are the offsets at which the batches of a segment begin, and the end of
// the last.
func (s damagedStore) batches(path string) []int {
	b, err := os.ReadFile(path)
	s.must(err)
	var starts []int
	scan, err := segment.ScanBatches(bytes.NewReader(b), path, int64(len(b)), nil)
	if err != nil || len(scan.Rows) == 0 {
		// It is sealed: the table looks like the rest of a write.
		f, serr := segment.CaptureFile(path)
		s.must(serr)
		scan, err = segment.ScanBatches(bytes.NewReader(b), path, f.End, nil)
		s.must(err)
	}
	for _, row := range scan.Rows {
		starts = append(starts, int(row.Offset))
	}
	return append(starts, int(scan.End))
}

// view is the result of one way to read a store: the entries that it can read, and
// the head.
type view struct {
	head    uint64
	entries map[uint64]bool
}

// seen records an entry. One that differs from the appended one fails the test.
func (v *view) seen(t *testing.T, who string, index uint64, entry []byte) {
	if string(entry) != damageEntry(index) {
		t.Errorf("%s reads entry %d as %.100q", who, index, entry)
	}
	v.entries[index] = true
}

func catView(t *testing.T, dir string) view {
	t.Helper()
	v := view{entries: map[uint64]bool{}}
	l, err := reader.Open(reader.Config{Data: dir})
	if err != nil {
		return v
	}
	v.head = l.Head()
	err = l.Read(context.Background(), 1, v.head, func(index uint64, entry []byte, _ int64, err error) error {
		if err == nil {
			v.seen(t, "cat", index, entry)
		}
		return nil
	})
	if err != nil {
		t.Errorf("cat: %v", err)
	}
	return v
}

// daemonView is the view of the daemon, which reads from the first entry on, and
// each entry alone. ok reports whether the daemon starts.
func daemonView(t *testing.T, dir string) (v view, ok bool) {
	t.Helper()
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter = 1024, time.Hour, time.Hour
	l, err := engine.Open(c)
	if err != nil {
		return v, false
	}
	defer l.Close()
	read := func(from, through uint64) map[uint64]bool {
		v := view{entries: map[uint64]bool{}}
		err := l.Read(context.Background(), from, through, func(first uint64, count int, entries []byte, _ int64, err error) error {
			for i := range uint64(count) {
				if err != nil {
					continue
				}
				var entry []byte
				entry, entries, _ = bytes.Cut(entries, []byte{'\n'})
				v.seen(t, "the daemon", first+i, entry)
			}
			return nil
		})
		if err != nil {
			t.Errorf("the daemon: %v", err)
		}
		return v.entries
	}
	v.head, _ = l.Head(context.Background())
	v.entries = read(1, v.head)
	for index := uint64(1); index <= v.head; index++ {
		if one := read(index, index); one[index] != v.entries[index] {
			t.Errorf("the daemon reads entry %d by itself: %v, among others: %v", index, one[index], v.entries[index])
		}
	}
	return v, true
}

// bad are the entries through head that a view cannot read.
func (v view) bad(head uint64) []uint64 {
	var bad []uint64
	for index := uint64(1); index <= head; index++ {
		if !v.entries[index] {
			bad = append(bad, index)
		}
	}
	return bad
}

// checkFsck compares the result of a check with the view of cat: the number of
// damaged entries, and the digest through the last entry before the first of them.
func checkFsck(t *testing.T, dir string, cat view) (head uint64) {
	t.Helper()
	sum, err := fsck.Check(context.Background(), fsck.Options{Data: dir, Workers: 1})
	if err != nil {
		t.Errorf("fsck: %v", err)
		return 0
	}
	bad := cat.bad(sum.Entries)
	if sum.Damaged+sum.Lost != uint64(len(bad)) {
		t.Errorf("fsck counts %d damaged and %d lost entries of %d; cat cannot read %v of %d", sum.Damaged, sum.Lost, sum.Entries, bad, cat.head)
	}
	if (sum.Digest != "") != (len(bad) == 0) {
		t.Errorf("fsck has the digest %q; cat cannot read %v", sum.Digest, bad)
	}
	through := sum.Entries
	if len(bad) > 0 {
		through = bad[0] - 1
	}
	if through == 0 {
		return sum.Entries
	}
	if sum, err = fsck.Check(context.Background(), fsck.Options{Data: dir, Workers: 1, Through: through}); err != nil {
		t.Errorf("fsck --through %d: %v", through, err)
		return sum.Entries
	}
	h := blake3.New()
	for index := uint64(1); index <= through; index++ {
		hash := segment.Sum([]byte(damageEntry(index)))
		h.Write(hash[:])
	}
	if want := hex.EncodeToString(h.Sum(nil)); sum.Digest != want {
		t.Errorf("fsck has the digest %q through %d, want %s", sum.Digest, through, want)
	}
	return sum.Entries
}

// TestDamages damages stores of every kind in every way, and compares the results of
// the daemon, cat and fsck entry by entry: none reads a wrong entry, and they agree
// on which entries can be read.
func TestDamages(t *testing.T) {
	t.Parallel()
	stores := map[string]func(c *engine.Config){
		"packed":       func(c *engine.Config) {},
		"one segment":  func(c *engine.Config) { c.SegmentSize = 1 << 20 },
		"loose":        func(c *engine.Config) { c.LooseMax = -1 },
		"half loose":   func(c *engine.Config) { c.LooseMax = 30 },
		"settled":      func(c *engine.Config) { c.LooseMax, c.RemoveAfter = -1, 0 },
		"index behind": func(c *engine.Config) {},
	}
	damages := slices.Concat([]damage{{"nothing", func(damagedStore) {}}}, segmentDamages(0), segmentDamages(1), segmentDamages(2), otherDamages())
	for kind, change := range stores {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			whole := makeDamageStore(t, change)
			if kind == "index behind" {
				whole.must(os.Truncate(whole.records(), 40*(segment.RecordSize+1)))
			}
			for _, d := range damages {
				if kind == "index behind" && strings.Contains(d.name, "records: ") {
					continue
				}
				t.Run(d.name, func(t *testing.T) {
					s := whole.copy(t)
					d.do(s)
					checkViews(t, s.dir)
				})
			}
		})
	}
}

func checkViews(t *testing.T, dir string) {
	t.Helper()
	cat := catView(t, dir)
	head := checkFsck(t, dir, cat)
	daemon, ok := daemonView(t, dir)
	if !ok {
		return
	}
	if daemon.head != cat.head || head != cat.head {
		t.Errorf("the head is %d for the daemon, %d for cat, %d for fsck", daemon.head, cat.head, head)
	}
	a, b := daemon.bad(daemon.head), cat.bad(daemon.head)
	if !slices.Equal(a, b) {
		t.Errorf("the daemon cannot read %v, cat %v", a, b)
	}
}
