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

// quickDir is a temporary directory in memory, if the system has such a file system: these
// tests make hundreds of stores, and what they look for does not depend on syncs.
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
		// It is sealed: the table looks like what a write left.
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

// damage is one way to damage a store.
type damage struct {
	name string
	do   func(s damagedStore)
}

// segmentDamages are the ways to damage the nth of the store's segments.
func segmentDamages(n int) []damage {
	const head = segment.BatchHeaderSize
	// in edits the bytes of a segment whose batches begin at the given offsets.
	in := func(name string, fn func(b []byte, at []int) []byte) damage {
		return damage{fmt.Sprintf("segment %d: %s", n, name), func(s damagedStore) {
			paths := s.segments()
			path := paths[min(n, len(paths)-1)]
			at := s.batches(path)
			s.edit(path, func(b []byte) []byte { return fn(b, at) })
		}}
	}
	flip := func(name string, off func(b []byte, at []int) int) damage {
		return in("flip "+name, func(b []byte, at []int) []byte { b[min(off(b, at), len(b)-1)] ^= 0x10; return b })
	}
	mid := func(at []int) int { return (len(at) - 1) / 2 } // a batch in the middle
	ds := []damage{
		flip("the header's magic", func([]byte, []int) int { return 2 }),
		flip("the header's store", func([]byte, []int) int { return 20 }),
		flip("the header's first index", func([]byte, []int) int { return 33 }),
		flip("the first batch's header", func(_ []byte, at []int) int { return at[0] + 9 }),
		flip("a batch's magic", func(_ []byte, at []int) int { return at[mid(at)] }),
		flip("a batch's size", func(_ []byte, at []int) int { return at[mid(at)] + 4 }),
		flip("a batch's count", func(_ []byte, at []int) int { return at[mid(at)] + 16 }),
		flip("a batch's time", func(_ []byte, at []int) int { return at[mid(at)] + 25 }),
		flip("a batch's checksum", func(_ []byte, at []int) int { return at[mid(at)] + 45 }),
		flip("a batch's first entry", func(_ []byte, at []int) int { return at[mid(at)] + head + 5 }),
		flip("a batch's last entry", func(_ []byte, at []int) int { return at[mid(at)+1] - 4 }),
		flip("a batch's last newline", func(_ []byte, at []int) int { return at[mid(at)+1] - 1 }),
		flip("a newline in a batch", func(b []byte, at []int) int {
			return at[mid(at)] + head + bytes.IndexByte(b[at[mid(at)]+head:], '\n')
		}),
		flip("the last batch's header", func(_ []byte, at []int) int { return at[len(at)-2] + 9 }),
		flip("the last batch's body", func(_ []byte, at []int) int { return at[len(at)-1] - 3 }),
		flip("the table", func(b []byte, at []int) int { return at[len(at)-1] + 4 }),
		flip("the footer's magic", func(b []byte, _ []int) int { return len(b) - 64 }),
		flip("the footer's last index", func(b []byte, _ []int) int { return len(b) - 64 + 24 }),
		flip("the last byte", func(b []byte, _ []int) int { return len(b) - 1 }),
		in("cut everything", func(b []byte, _ []int) []byte { return nil }),
		in("cut in the header", func(b []byte, _ []int) []byte { return b[:30] }),
		in("cut after the header", func(b []byte, _ []int) []byte { return b[:segment.HeaderSize] }),
		in("cut in a batch's header", func(b []byte, at []int) []byte { return b[:at[mid(at)]+20] }),
		in("cut in a batch's body", func(b []byte, at []int) []byte { return b[:at[mid(at)]+head+10] }),
		in("cut after a batch", func(b []byte, at []int) []byte { return b[:at[mid(at)+1]] }),
		in("cut the table and the footer", func(b []byte, at []int) []byte { return b[:at[len(at)-1]] }),
		in("cut a byte", func(b []byte, _ []int) []byte { return b[:len(b)-1] }),
		in("shift a batch's bytes up", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head+3, at[mid(at)+1]
			copy(b[from+1:to], bytes.Clone(b[from:to-1]))
			b[from] = 'x'
			return b
		}),
		in("shift a batch's bytes down", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head+3, at[mid(at)+1]
			copy(b[from:to-1], bytes.Clone(b[from+1:to]))
			return b
		}),
		in("shift a batch's bytes by many", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head, at[mid(at)+1]
			copy(b[min(from+9, to):to], bytes.Clone(b[from:to]))
			return b
		}),
		in("insert a byte", func(b []byte, at []int) []byte { return slices.Insert(b, at[mid(at)]+head+1, 'y') }),
		in("remove a byte", func(b []byte, at []int) []byte { return slices.Delete(b, at[mid(at)]+head+1, at[mid(at)]+head+2) }),
		in("remove a batch", func(b []byte, at []int) []byte { return slices.Delete(b, at[mid(at)], at[mid(at)+1]) }),
		in("write a batch twice", func(b []byte, at []int) []byte {
			return slices.Insert(b, at[mid(at)+1], bytes.Clone(b[at[mid(at)]:at[mid(at)+1]])...)
		}),
		in("swap the entries of a batch", func(b []byte, at []int) []byte {
			body := b[at[mid(at)]+head : at[mid(at)+1]]
			lines := bytes.SplitAfter(bytes.Clone(body), []byte{'\n'})
			slices.Reverse(lines)
			copy(body, slices.Concat(lines...))
			return b
		}),
		in("swap two batches", func(b []byte, at []int) []byte {
			i := min(mid(at), len(at)-3)
			if i < 0 {
				return b[:at[0]]
			}
			copy(b[at[i]:at[i+2]], slices.Concat(b[at[i+1]:at[i+2]], b[at[i]:at[i+1]]))
			return b
		}),
		in("swap two batches' bodies", func(b []byte, at []int) []byte {
			i := min(mid(at), len(at)-3)
			if i < 0 {
				return b[:at[0]]
			}
			copy(b[at[i]+head:at[i+2]], slices.Concat(b[at[i+1]+head:at[i+2]], b[at[i+1]:at[i+1]+head], b[at[i]+head:at[i+1]]))
			return b
		}),
		in("zeros in a batch", func(b []byte, at []int) []byte { clear(b[at[mid(at)]+head+4 : at[mid(at)]+head+12]); return b }),
		in("zeros for a batch's header", func(b []byte, at []int) []byte { clear(b[at[mid(at)]:][:head]); return b }),
		in("zeros for a batch", func(b []byte, at []int) []byte { clear(b[at[mid(at)]:at[mid(at)+1]]); return b }),
		in("zeros for the last batch", func(b []byte, at []int) []byte { clear(b[at[len(at)-2]:at[len(at)-1]]); return b }),
		in("zeros from the middle of a batch on", func(b []byte, at []int) []byte { clear(b[at[mid(at)]+head+7:]); return b }),
		in("zeros for all batches", func(b []byte, at []int) []byte { clear(b[at[0]:at[len(at)-1]]); return b }),
		in("zeros for the table", func(b []byte, at []int) []byte { clear(b[at[len(at)-1]:max(len(b)-64, at[len(at)-1])]); return b }),
		in("zeros after the end", func(b []byte, _ []int) []byte { return append(b, make([]byte, 5000)...) }),
		in("other bytes after the end", func(b []byte, _ []int) []byte { return append(b, "other bytes"...) }),
		in("zeros for the whole file", func(b []byte, _ []int) []byte { clear(b); return b }),
		{fmt.Sprintf("segment %d: remove the file", n), func(s damagedStore) {
			paths := s.segments()
			s.must(os.Remove(paths[min(n, len(paths)-1)]))
		}},
	}
	return ds
}

// otherDamages are the ways to damage the index and the blobs, alone or with segments.
func otherDamages() []damage {
	const stride = segment.RecordSize + 1
	records := func(name string, fn func(b []byte) []byte) damage {
		return damage{"records: " + name, func(s damagedStore) { s.edit(s.records(), fn) }}
	}
	// blobs does something to the blobs of some entries, as far as there are any.
	blobs := func(name string, indices []uint64, fn func(s damagedStore, path string)) damage {
		return damage{"blobs: " + name, func(s damagedStore) {
			for _, index := range indices {
				if _, err := os.Stat(s.blob(index)); err == nil {
					fn(s, s.blob(index))
				}
			}
		}}
	}
	remove := func(s damagedStore, path string) { s.must(os.Remove(path)) }
	flip := func(s damagedStore, path string) { s.edit(path, func(b []byte) []byte { b[3] ^= 1; return b }) }
	var all []uint64
	for index := uint64(1); index <= damageEntries; index++ {
		all = append(all, index)
	}
	both := func(a, b damage) damage {
		return damage{a.name + "; " + b.name, func(s damagedStore) { a.do(s); b.do(s) }}
	}
	firstBody := damage{"segment 0: flip the first body", func(s damagedStore) {
		path := s.segments()[0]
		at := s.batches(path)
		s.edit(path, func(b []byte) []byte { b[at[0]+segment.BatchHeaderSize+4] ^= 1; return b })
	}}
	ds := []damage{
		records("flip the first", func(b []byte) []byte { b[5] ^= 1; return b }),
		records("flip one in the middle", func(b []byte) []byte { b[stride*30+40] ^= 1; return b }),
		records("flip the last", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		records("flip a length", func(b []byte) []byte { b[stride*7] ^= 1; return b }),
		records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] }),
		records("cut after a record", func(b []byte) []byte { return b[:stride*50] }),
		records("cut all", func(b []byte) []byte { return nil }),
		records("zeros in the middle", func(b []byte) []byte { clear(b[stride*20 : stride*23]); return b }),
		records("zeros after the end", func(b []byte) []byte { return append(b, make([]byte, 1000)...) }),
		records("swap two", func(b []byte) []byte {
			one, two := b[stride*4:stride*5], b[stride*9:stride*10]
			x := bytes.Clone(one)
			copy(one, two)
			copy(two, x)
			return b
		}),
		records("shift", func(b []byte) []byte { return slices.Insert(b, stride*10, 0) }),
		{"records: remove the file", func(s damagedStore) { s.must(os.Remove(s.records())) }},
		{"records: remove the directory", func(s damagedStore) { s.must(os.RemoveAll(filepath.Dir(s.records()))) }},
		blobs("remove one", []uint64{7}, remove),
		blobs("remove the first", []uint64{1}, remove),
		blobs("remove some", []uint64{3, 4, 5, 20, 59, 60}, remove),
		blobs("remove all", all, remove),
		blobs("flip one", []uint64{8}, flip),
		blobs("flip some", []uint64{1, 2, 30, 31, 60}, flip),
		blobs("cut one", []uint64{9}, func(s damagedStore, path string) { s.must(os.Truncate(path, 4)) }),
		blobs("empty one", []uint64{9}, func(s damagedStore, path string) { s.must(os.Truncate(path, 0)) }),
		blobs("lengthen one", []uint64{9}, func(s damagedStore, path string) {
			s.edit(path, func(b []byte) []byte { return append(b, ' ') })
		}),
		blobs("another's content", []uint64{9}, func(s damagedStore, path string) {
			s.must(os.WriteFile(path, []byte(damageEntry(16)), 0o600))
		}),
		{"blobs: remove the directory", func(s damagedStore) { s.must(os.RemoveAll(filepath.Join(s.dir, "blobs"))) }},
		both(firstBody, blobs("remove the first", []uint64{1, 2}, remove)),
		both(firstBody, records("flip the first", func(b []byte) []byte { b[5] ^= 1; return b })),
		both(firstBody, records("cut all", func(b []byte) []byte { return nil })),
		both(firstBody, records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] })),
		both(damage{"segment 0: remove the file", func(s damagedStore) { s.must(os.Remove(s.segments()[0])) }}, blobs("remove some", []uint64{2, 3}, remove)),
	}
	for _, d := range segmentDamages(1) {
		switch strings.TrimPrefix(d.name, "segment 1: ") {
		case "shift a batch's bytes up", "zeros for a batch", "swap two batches", "flip a batch's magic", "cut in a batch's body":
			ds = append(ds,
				both(d, blobs("remove all", all, remove)),
				both(d, blobs("flip some", []uint64{1, 2, 30, 31, 60}, flip)),
				both(d, records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] })),
				both(d, records("zeros in the middle", func(b []byte) []byte { clear(b[stride*20 : stride*45]); return b })))
		}
	}
	return ds
}

// view is what one way of reading finds in a store: the entries that it can read,
// and the head.
type view struct {
	head    uint64
	entries map[uint64]bool
}

// seen notes an entry: one that is not what was appended fails the test.
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

// daemonView is what the daemon reads, from the first entry on, and one by one.
// ok reports whether it starts.
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

// checkFsck compares what a check says with what cat reads: how many entries are
// damaged, and the digest through the last before the first of them.
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

// TestDamages damages stores of every kind in every way, and compares what the
// daemon, cat and fsck make of them entry by entry: none reads a wrong entry, and
// they agree which entries can be read.
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
