package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/canonical"
	"tcp-log-server/segment"
)

// checkStore checks an entire closed store: every segment scans clean and continues the one before, every
// record has its entry's hash, size and time, every blob is named by its hash and belongs to a record,
// every entry is in a segment or a blob, and there is nothing else.
func checkStore(t testing.TB, config Config) {
	t.Helper()
	config, err := config.validate()
	if err != nil {
		t.Fatal(err)
	}
	if config.Data == Memory {
		return
	}
	c := &storeCheck{TB: t, config: config}
	c.segments()
	c.records()
	c.blobs()
	c.strays(config.Data, "LOCK", segment.EpochName, segment.ReplicaName, segment.FencedName, "segments", "wal", "blobs", "lookup", segment.LostFound)
}

type storeCheck struct {
	testing.TB
	config Config
	store  segment.StoreID
	first  uint64 // first index in a segment
	last   uint64
	batch  []int64  // commit time of each entry from first on
	entry  [][]byte // and the entry, nil for one that is lost
	hashes map[segment.Hash]bool
}

func (c *storeCheck) segments() {
	c.Helper()
	dir := filepath.Join(c.config.Data, "segments")
	firsts, err := segment.List(dir)
	if err != nil || len(firsts) == 0 {
		c.Fatalf("check: segments %v, %v", firsts, err)
	}
	var names []string
	var sum uint32
	for i, first := range firsts {
		name := segment.Name(first)
		names = append(names, name)
		f, err := segment.CaptureFile(filepath.Join(dir, name))
		if err := errors.Join(err, f.Check()); err != nil {
			c.Fatalf("check: %v", err)
		}
		s := f.Segment()
		if i == 0 {
			c.store, c.first, c.last, sum = s.Header.Store, first, first-1, s.Header.Prev
			if first == 1 && sum != 0 {
				c.Errorf("check: %s follows checksum %08x, want 0", name, sum)
			}
		}
		if s.Header.Store != c.store || first != c.last+1 || s.Header.Prev != sum {
			c.Errorf("check: %s has header %+v, want store %s, first %d, prev %08x", name, s.Header, c.store, c.last+1, sum)
		}
		if s.Sealed() != (i < len(firsts)-1) {
			c.Errorf("check: %s, %d of %d: sealed is %v", name, i+1, len(firsts), s.Sealed())
		}
		c.batches(s)
		sum = s.Sum()
		if s.Last() != c.last {
			c.Errorf("check: %s ends at %d, its batches at %d", name, s.Last(), c.last)
		}
	}
	c.strays(dir, names...)
}

// batches scans one segment, and compares the table of a sealed one.
func (c *storeCheck) batches(s *segment.Segment) {
	c.Helper()
	b, err := os.ReadFile(s.Path)
	if err != nil {
		c.Fatal(err)
	}
	size := int64(len(b))
	if s.Sealed() {
		size = s.End()
	}
	scan, err := segment.ScanBatches(bytes.NewReader(b), s.Path, size, func(_ int64, h segment.BatchHeader, body []byte) error {
		if n := len(c.batch); n > 0 && h.Time < c.batch[n-1] {
			c.Errorf("check: %s: the batch of index %d is from %d µs, the one before it from %d µs", s.Path, h.First, h.Time, c.batch[n-1])
		}
		if h.Lost() {
			c.entry = append(c.entry, make([][]byte, h.Count)...)
			c.batch = append(c.batch, slices.Repeat([]int64{h.Time}, int(h.Count))...)
			c.last = h.Last()
			return nil
		}
		lines := bytes.Split(body, []byte("\n"))
		if len(lines) != int(h.Count)+1 || len(lines[h.Count]) != 0 {
			return fmt.Errorf("batch of %d entries has %d lines", h.Count, len(lines)-1)
		}
		for _, e := range lines[:h.Count] {
			c.canonical(e)
			c.entry, c.batch = append(c.entry, bytes.Clone(e)), append(c.batch, h.Time)
		}
		c.last = h.Last()
		return nil
	})
	if scan.Proved {
		size -= segment.BatchHeaderSize
	}
	if err != nil || scan.Torn != 0 || scan.End != size {
		c.Fatalf("check: %s: %+v, %v, want a clean end at %d", s.Path, scan, err, size)
	}
	if !s.Sealed() {
		return
	}
	for i, row := range scan.Rows {
		if got := segment.ParseRow(b[size+int64(i)*segment.RowSize:]); got != row {
			c.Errorf("check: %s: row %d is %+v, want %+v", s.Path, i, got, row)
		}
	}
	f, _, err := segment.ParseFooter(b[len(b)-segment.FooterSize:], int64(len(b)))
	if err != nil || int(f.Batches) != len(scan.Rows) || f.Last != scan.Last || f.Sum != scan.Sum ||
		f.Rows != segment.Checksum(b[size:len(b)-segment.FooterSize]) {
		c.Errorf("check: %s: footer is %+v, %v, scan %+v", s.Path, f, err, scan)
	}
}

func (c *storeCheck) canonical(entry []byte) {
	c.Helper()
	if out, n, err := canonical.Append(nil, entry); err != nil || n != len(entry) || !bytes.Equal(out, entry) {
		c.Errorf("check: entry %.80q is not canonical: %v", entry, err)
	}
}

// records checks the index against the entries, and those without a segment
// against their blobs.
func (c *storeCheck) records() {
	c.Helper()
	c.hashes = make(map[segment.Hash]bool)
	if c.config.WAL == Memory {
		return
	}
	c.mark(c.config.WAL)
	files, strays, err := segment.ListRecordFiles(c.config.WAL)
	if err == nil {
		_, err = segment.LastRecord(c.config.WAL) // checks where the files lie
	}
	if err != nil || len(strays) > 0 {
		c.Fatalf("check: files of the index are %+v, strays %q, %v", files, strays, err)
	}
	r := segment.NewRecords(c.config.WAL, math.MaxUint64)
	defer r.Close()
	index := uint64(1)
	for ; ; index++ {
		var rec segment.Record
		if rec, err = r.At(index); err != nil {
			break
		}
		c.hashes[rec.Hash] = true
		if index < c.first {
			b, err := os.ReadFile(filepath.Join(c.config.Blobs, segment.BlobPath(rec.Hash)))
			if err != nil || segment.Sum(b) != rec.Hash || len(b) != int(rec.Size) {
				c.Errorf("check: index %d has no segment and no whole blob: %v", index, err)
			}
			continue
		}
		if index > c.last {
			c.Fatalf("check: there is a record of index %d, the segments end at %d", index, c.last)
		}
		e := c.entry[index-c.first]
		want := segment.Record{Hash: segment.Sum(e), Size: uint32(len(e)), Time: c.batch[index-c.first]}
		if e == nil { // lost
			want = segment.Record{Time: want.Time}
		}
		if rec != want {
			c.Errorf("check: record of index %d is %+v, want %+v", index, rec, want)
		}
	}
	if !errors.Is(err, segment.ErrNotFound) {
		c.Errorf("check: record of index %d: %v", index, err)
	}
	if index < c.first {
		c.Errorf("check: the index ends before %d, the segments begin at %d", index, c.first)
	}
	if index <= c.last {
		c.hashes = nil // a blob may be ahead of its record
	}
}

func (c *storeCheck) blobs() {
	c.Helper()
	if c.config.Blobs == Memory {
		return
	}
	c.mark(c.config.Blobs)
	shards, err := os.ReadDir(c.config.Blobs)
	if err != nil {
		c.Fatal(err)
	}
	for _, shard := range shards {
		if shard.Name() == "store-"+c.store.String() {
			continue
		}
		dir := filepath.Join(c.config.Blobs, shard.Name())
		blobs, err := os.ReadDir(dir)
		if err != nil {
			c.Errorf("check: stray %s: %v", dir, err)
		}
		for _, blob := range blobs {
			b, err := os.ReadFile(filepath.Join(dir, blob.Name()))
			h, ok := segment.ParseBlobPath(shard.Name(), blob.Name())
			if err != nil || !ok || segment.Sum(b) != h {
				c.Errorf("check: blob %s/%s: %v, hash %s", shard.Name(), blob.Name(), err, segment.Sum(b))
			}
			c.canonical(b)
			if c.config.WAL != Memory && c.hashes != nil && !c.hashes[h] {
				c.Errorf("check: blob %s belongs to no record", h)
			}
		}
	}
}

func (c *storeCheck) mark(dir string) {
	c.Helper()
	if id, ok, err := segment.FindMark(dir); err != nil || !ok || id != c.store {
		c.Errorf("check: %s is marked %s, %v, %v, want %s", dir, id, ok, err, c.store)
	}
}

// strays complains of anything in dir but the names given.
func (c *storeCheck) strays(dir string, names ...string) {
	c.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.Fatal(err)
	}
	for _, e := range entries {
		found := false
		for _, name := range names {
			found = found || e.Name() == name
		}
		if !found {
			c.Errorf("check: stray %s", filepath.Join(dir, e.Name()))
		}
	}
}

// tree lists the content of a directory, with a hash of every file except for the texts in LOCK and in
// marks.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == "LOCK" || e.Name() == "README" { // their texts are for people
			return err
		}
		fmt.Fprint(&b, strings.TrimPrefix(path, dir), " ", e.Type())
		if e.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprint(&b, " ", segment.Sum(raw))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
