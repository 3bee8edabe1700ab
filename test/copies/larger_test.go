package copies

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/client"
)

// largeEntry returns the entry at an index of a log that fill has filled, of about size bytes or 100
// more.
func largeEntry(index uint64, size int) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("0123456789abcdef", size/16+int(index%8)))
}

// fill appends the entries from..last, in batches of about 256 KiB.
func fill(t testing.TB, c *client.Client, from, last uint64, size int) {
	t.Helper()
	for from <= last {
		var batch [][]byte
		for index := from; index <= last && len(batch)*size < 256<<10; index++ {
			batch = append(batch, []byte(largeEntry(index, size)))
		}
		if first, err := c.AppendAll(t.Context(), batch...); err != nil || first != from {
			t.Fatalf("%d entries are stored from %d on, want %d: %v", len(batch), first, from, err)
		}
		from += uint64(len(batch))
	}
}

// readLarge compares the entries from..through of a log that fill has filled.
func readLarge(t testing.TB, c *client.Client, from, through uint64, size int) {
	next := from
	for e, err := range c.Read(t.Context(), from, 0, client.Through(through)) {
		if err != nil {
			t.Errorf("reading from %d, at %d: %v", from, next, err)
			return
		}
		if e.Index != next || string(e.Value) != largeEntry(next, size) {
			t.Errorf("entry %d is %.60s, want entry %d, %.60s", e.Index, e.Value, next, largeEntry(next, size))
			return
		}
		next++
	}
	if next != through+1 {
		t.Errorf("reading from %d ended after %d, want %d", from, next-1, through)
	}
}

// TestLargerThanItsDiskInS3 reads a log three times as large as the part in its directory, as a whole
// and in places. The cache of blocks from S3 stays within its bound.
func TestLargerThanItsDiskInS3(t *testing.T) {
	t.Parallel()
	const size = 4096
	keep, total := 40<<20, 130<<20
	if testing.Short() {
		keep, total = 4<<20, 12<<20
	}
	const segmentSize, cacheSize = 1 << 20, 64 << 20
	s3 := Start(t)
	env := s3.Env(s3.Endpoint)
	data := filepath.Join(t.TempDir(), "data")
	settings := []string{"ARCHIVE=" + s3.URL, "ARCHIVE_EVERY=1s", "ARCHIVE_RATE=10GiB", fmt.Sprint("ARCHIVE_KEEP_LOCAL=", keep), fmt.Sprint("ARCHIVE_CACHE=", cacheSize),
		"LOOSE_MAX=0", fmt.Sprint("FAULT_SEGMENT_SIZE=", segmentSize), "FAULT_SETTLE_EVERY=20ms"}
	p := serve(t, env, data, settings...)
	c := p.dial(t)
	head := uint64(total / (size + 80))
	fill(t, c, 1, head, size)

	p.await(t, c, "the directory has what it is to keep", func(s status) bool { return archived(s) && local(t, data) <= int64(keep+2*segmentSize) })
	s, err := stat(t.Context(), c)
	if err != nil || s.Archived.Through < head/2 || s.Archived.Through >= head {
		t.Fatalf("removed through entry %d of %d: %v", s.Archived.Through, head, err)
	}
	for round := range 2 {
		var readers sync.WaitGroup
		readers.Go(func() { readLarge(t, c, 1, head, size) })
		readers.Go(func() {
			for range 50 {
				from := 1 + rand.Uint64N(head)
				readLarge(t, c, from, min(head, from+rand.Uint64N(20)), size)
			}
		})
		readers.Wait()
		s, err := stat(t.Context(), c)
		fi, cerr := os.Stat(filepath.Join(data, "archive.cache"))
		if err != nil || cerr != nil || fi.Size() > cacheSize || s.Archived.Cached > cacheSize || s.Archived.Misses == 0 {
			t.Fatalf("round %d: %+v, %v, %v: want a cache of at most %d bytes", round, s.Archived, err, cerr, cacheSize)
		}
		t.Logf("round %d: %d entries, %d of them only in S3; %+v", round, head, s.Archived.Through, s.Archived)
	}

	// Appends continue, and an entry that is already stored is found.
	res, err := c.Put(t.Context(), client.Write{Entries: [][]byte{[]byte(largeEntry(7, size))}, Once: true})
	if err != nil || !res.Seen || res.Index != 7 {
		t.Errorf("entry 7 appended once more: %+v, %v", res, err)
	}
	fill(t, c, head+1, head+10, size)
	head += 10
	p.await(t, c, "everything is archived", archived)
	p.stop(t)
	absent(t, filepath.Join(data, "archive.cache"))
	if s := check(t, env, s3.URL); s.Through != head {
		t.Errorf("the archive ends with entry %d, want %d", s.Through, head)
	}
	if s := check(t, env, data); s.Archived == 0 || s.Entries != head {
		t.Errorf("fsck finds %d entries, %d of them archived, want %d", s.Entries, s.Archived, head)
	}
	p = serve(t, env, data, settings...)
	c = p.dial(t)
	readLarge(t, c, 1, head, size)

	restored := filepath.Join(t.TempDir(), "restored")
	run(t, env, "restore", s3.URL, restored)
	same(t, env, s3.URL, restored)
}

// local returns the size of the segments in a directory in bytes.
func local(t testing.TB, data string) (bytes int64) {
	names, err := filepath.Glob(filepath.Join(data, "segments", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if fi, err := os.Stat(name); err == nil { // it may have been removed just now
			bytes += fi.Size()
		}
	}
	return bytes
}
