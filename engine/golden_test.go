package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// update rewrites the golden store. That of a released version is never rewritten: a later
// format gets its own store.
var update = flag.Bool("update", false, "write testdata/golden/v1.tar.gz and v1.ndjson")

// The golden store: DATA as an archive, since git cannot keep the empty directories that mark
// its parts, and its content, one entry per line.
const (
	goldenStore   = "../testdata/golden/v1.tar.gz"
	goldenEntries = "../testdata/golden/v1.ndjson"
)

// goldenSegment is the content of one segment of the golden store: batches of entries; a
// batch of empty strings is one of lost entries.
type goldenSegment [][]string

// goldenContents covers everything. The first segment has been removed since its entries are
// all loose; the last one is open.
var goldenContents = []goldenSegment{
	{{`{"a":2,"b":1}`}, {`[]`, `{"a":2,"b":1}`}},
	{{`null`}, {`{"n":9007199254740993}`, `["é","\u0001"]`}},
	{{"", ""}, {`{"deep":[[[1e+21]]]}`, `null`}},
	{{`{"k":"v"}`}, {`{}`, `{"last":true}`}},
}

const (
	goldenLoose   = 5  // entries through this one have blobs
	goldenSettled = 11 // entries through this one have records
)

// buildGolden writes the golden store below dir using only package segment, so that its id
// and its times are the same each time.
func buildGolden(t *testing.T, dir string) {
	t.Helper()
	id := segment.StoreID([]byte("golden-store-v1\x00"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	segments, wal, blobs := filepath.Join(dir, "segments"), filepath.Join(dir, "wal"), filepath.Join(dir, "blobs")
	for _, d := range []string{segments, wal, blobs} {
		must(segment.MakeDir(d))
	}
	must(os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600))
	must(segment.Mark(wal, id))
	must(segment.Mark(blobs, id))
	index, _, err := segment.OpenIndex(wal, 0)
	must(err)
	b, err := segment.OpenBlobs(blobs)
	must(err)

	next, sum := uint64(1), uint32(0)
	for i, batches := range goldenContents {
		w, err := segment.Create(segments, segment.Header{Store: id, First: next, Created: at.UnixMicro(), Prev: sum}, 1<<20)
		must(err)
		for _, entries := range batches {
			at = at.Add(1500 * time.Millisecond)
			batch := make([]byte, segment.BatchHeaderSize)
			for _, e := range entries {
				rec := segment.Record{Time: at.UnixMicro()}
				if e != "" {
					batch = append(append(batch, e...), '\n')
					rec.Hash, rec.Size = segment.Sum([]byte(e)), uint32(len(e))
				}
				if next <= goldenLoose && e != "" {
					_, err := b.Put(context.Background(), rec.Hash, []byte(e))
					must(err)
				}
				if next <= goldenSettled {
					must(index.Append([]segment.Record{rec}))
				}
				next++
			}
			must(w.Commit(batch, len(entries), at))
		}
		if sum = w.Sum(); i < len(goldenContents)-1 {
			must(w.Seal())
		} else {
			must(w.Close())
			must(os.Truncate(w.Path, w.End())) // that version left no proof of the end
		}
	}
	must(os.Remove(filepath.Join(segments, segment.Name(1))))
	must(errors.Join(index.Close(), b.Sync(context.Background()), b.Close()))
}

// goldenLines are the lines of goldenEntries.
func goldenLines() string {
	var b strings.Builder
	index := 1
	for _, batches := range goldenContents {
		for _, entries := range batches {
			for _, e := range entries {
				if e == "" {
					fmt.Fprintf(&b, "{\"index\":%d,\"lost\":true}\n", index)
				} else {
					fmt.Fprintf(&b, "{\"index\":%d,\"entry\":%s}\n", index, e)
				}
				index++
			}
		}
	}
	return b.String()
}

// pack archives a directory, without times.
func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if e.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o700})
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o600, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackGolden puts the golden store into a directory and returns that.
func unpackGolden(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	f, err := os.Open(goldenStore)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoldenStore opens the golden store, reads every entry, appends and reopens it.
func TestGoldenStore(t *testing.T) {
	if *update {
		dir := filepath.Join(t.TempDir(), "data")
		buildGolden(t, dir)
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(goldenStore), 0o755),
			os.WriteFile(goldenStore, pack(t, dir), 0o644),
			os.WriteFile(goldenEntries, []byte(goldenLines()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := os.ReadFile(goldenEntries)
	if err != nil {
		t.Fatal(err)
	}
	config := NewConfig(unpackGolden(t))
	config.LooseMax = 3
	config.SettleEvery = time.Millisecond
	want := string(lines)
	for range 2 {
		l := openLog(t, config)
		var got strings.Builder
		for i, e := range readAll(t, l) {
			switch {
			case strings.HasPrefix(e, "error: "+ErrLost.Error()):
				fmt.Fprintf(&got, "{\"index\":%d,\"lost\":true}\n", i+1)
			default:
				fmt.Fprintf(&got, "{\"index\":%d,\"entry\":%s}\n", i+1, e)
			}
		}
		if got.String() != want {
			t.Fatalf("the store holds\n%swant\n%s", got.String(), want)
		}
		head, _ := l.Head(t.Context())
		if r := <-submit(l, `{"new":1}`); r.err != nil || r.first != head+1 {
			t.Fatalf("append: %+v, want index %d", r, head+1)
		}
		want += fmt.Sprintf("{\"index\":%d,\"entry\":{\"new\":1}}\n", head+1)
		settled(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		checkStore(t, config)
	}
}

// TestGoldenBytes: the store written today is identical, to the byte, to the one written
// then.
func TestGoldenBytes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	buildGolden(t, dir)
	if got, want := tree(t, dir), tree(t, unpackGolden(t)); got != want {
		t.Errorf("the format has changed: a store is now\n%swant\n%s", got, want)
	}
}

// TestGoldenOnce: an append with Once finds every entry of the golden store, loose, packed or
// not yet settled, at its first index; and again with the tables that this made.
func TestGoldenOnce(t *testing.T) {
	config := NewConfig(unpackGolden(t))
	first := map[string]uint64{}
	index := uint64(0)
	for _, batches := range goldenContents {
		for _, entries := range batches {
			for _, e := range entries {
				if index++; e != "" && first[e] == 0 {
					first[e] = index
				}
			}
		}
	}
	for range 2 {
		l := openLog(t, config)
		findAll(t, l, first)
		if head, _ := l.Head(t.Context()); head != index {
			t.Errorf("head is %d, want %d", head, index)
		}
		index++
		entry := fmt.Sprintf(`{"new":%d}`, index)
		if o := sendOnce(t, l, entry); o.First != index || o.Once[0].Seen {
			t.Errorf("a new entry: %+v, want index %d", o, index)
		}
		first[entry] = index
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
