package reader_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/reader"
	"tcp-log-server/segment"
)

func TestWhole(t *testing.T) {
	for name, dir := range map[string]string{
		"packed": build(t, 0, false), "mixed": build(t, 50, false), "loose": build(t, -1, true),
	} {
		t.Run(name, func(t *testing.T) {
			for _, span := range [][2]uint64{{1, 1 << 62}, {1, 1}, {77, 130}, {entries, entries + 5}, {entries + 1, 1 << 62}} {
				if head, bad := contents(t, reader.Config{Data: dir}, span[0], span[1]); head != entries || len(bad) > 0 {
					t.Errorf("%v: head %d, bad %v", span, head, bad)
				}
			}
		})
	}
}

// TestDamage: each kind of damage, and the entries that it costs. All others are read.
func TestDamage(t *testing.T) {
	const one = `{"n":20,` // an entry in the middle of a batch
	for _, tt := range []struct {
		name   string
		loose  int
		damage func(t *testing.T, dir string)
		bad    []uint64
	}{
		{"an entry, its batch's others are found by their hashes", 0, func(t *testing.T, dir string) {
			flip(t, holding(t, dir, one), one, 6)
		}, []uint64{20}},
		{"an entry with a blob", 50, func(t *testing.T, dir string) {
			flip(t, holding(t, dir, one), one, 6)
		}, nil},
		{"the header of a batch", 0, func(t *testing.T, dir string) {
			edit(t, files(t, dir)[1], func(b []byte) []byte {
				b[segment.HeaderSize+10] ^= 0xff
				return b
			})
		}, nil},
		{"a segment is missing", 0, func(t *testing.T, dir string) {
			must(t, os.Remove(files(t, dir)[1]))
		}, nil}, // filled in below
		{"a segment with blobs is missing", -1, func(t *testing.T, dir string) {
			must(t, os.Remove(files(t, dir)[1]))
		}, nil},
		{"the header of a segment", 0, func(t *testing.T, dir string) {
			edit(t, files(t, dir)[1], func(b []byte) []byte { clear(b[:segment.HeaderSize]); return b })
		}, nil},
		{"the footer of a segment", 0, func(t *testing.T, dir string) {
			edit(t, files(t, dir)[1], func(b []byte) []byte { clear(b[len(b)-segment.FooterSize:]); return b })
		}, nil},
		{"the last segment is a directory", -1, func(t *testing.T, dir string) {
			path := files(t, dir)
			must(t, os.Remove(path[len(path)-1]))
			must(t, os.Mkdir(path[len(path)-1], 0o700))
		}, nil},
		{"all segments are missing", -1, func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "segments")))
		}, nil},
		{"the index is missing", 0, func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "wal")))
		}, nil},
		{"a record", 0, func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "wal", "00000000000000000001"), func(b []byte) []byte { b[49*19+8] ^= 1; return b })
		}, nil},
		{"the only batch of a segment that is not sealed", 0, func(t *testing.T, dir string) {
			edit(t, files(t, dir)[1], func(b []byte) []byte {
				b[segment.HeaderSize+segment.BatchHeaderSize+6] ^= 1
				size := binary.LittleEndian.Uint32(b[segment.HeaderSize+4:])
				return b[:segment.HeaderSize+segment.BatchHeaderSize+size]
			})
		}, nil}, // filled in below
		{"the end of the last segment", 0, func(t *testing.T, dir string) {
			paths := files(t, dir)
			edit(t, paths[len(paths)-1], func(b []byte) []byte {
				i := bytes.Index(b, []byte(entryText(entries)))
				b[i+6] ^= 1
				return b
			})
		}, []uint64{entries}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := build(t, tt.loose, false)
			if tt.name == "a segment is missing" {
				firsts, err := segment.List(filepath.Join(dir, "segments"))
				must(t, err)
				for i := firsts[1]; i < firsts[2]; i++ {
					tt.bad = append(tt.bad, i)
				}
			}
			if tt.name == "the only batch of a segment that is not sealed" {
				// The first entry is altered, the others of the batch are found, and the rest of the
				// segment has been cut off.
				firsts, err := segment.List(filepath.Join(dir, "segments"))
				must(t, err)
				tt.bad = append(tt.bad, firsts[1])
				b, err := os.ReadFile(files(t, dir)[1])
				must(t, err)
				count := uint64(binary.LittleEndian.Uint32(b[segment.HeaderSize+16:]))
				for i := firsts[1] + count; i < firsts[2]; i++ {
					tt.bad = append(tt.bad, i)
				}
			}
			tt.damage(t, dir)
			head, bad := contents(t, reader.Config{Data: dir}, 1, 1<<62)
			if head != entries || fmt.Sprint(bad) != fmt.Sprint(tt.bad) {
				t.Errorf("head %d, bad %v; want %d, %v", head, bad, entries, tt.bad)
			}
		})
	}
}

// TestForeignEntry: an intact batch in the place of another, which only the index reveals.
func TestForeignEntry(t *testing.T) {
	a, b := build(t, 0, false), build(t, 0, false)
	to := files(t, a)
	from := files(t, b)
	edit(t, to[1], func([]byte) []byte { x, err := os.ReadFile(from[1]); must(t, err); return x })
	// The segment itself says that it is another store's.
	if _, bad := contents(t, reader.Config{Data: a}, 1, 1<<62); len(bad) == 0 {
		t.Error("a segment of another store is read as this one's")
	}
}

// TestDisagreement: a batch with a valid checksum, and a record with a different hash.
func TestDisagreement(t *testing.T) {
	dir := build(t, 0, false)
	recs, err := segment.ReadRecords(filepath.Join(dir, "wal"), 1, entries)
	must(t, err)
	recs[41].Hash[0] ^= 1
	path := filepath.Join(dir, "wal", "00000000000000000001")
	must(t, os.Remove(path))
	must(t, segment.WriteRecords(path, 1, recs))
	if _, bad := contents(t, reader.Config{Data: dir}, 1, 1<<62); fmt.Sprint(bad) != "[42]" {
		t.Errorf("bad %v, want [42]", bad)
	}
}

func TestNoLog(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{dir, file, filepath.Join(dir, "nothing")} {
		if _, err := reader.Open(reader.Config{Data: path}); !errors.Is(err, reader.ErrNoLog) {
			t.Errorf("%s: %v, want ErrNoLog", path, err)
		}
	}
}

func TestMemoryParts(t *testing.T) {
	dir := build(t, 0, false)
	must(t, os.RemoveAll(filepath.Join(dir, "wal")))
	if head, bad := contents(t, reader.Config{Data: dir, WAL: reader.Memory, Blobs: reader.Memory}, 1, 1<<62); head != entries || bad != nil {
		t.Errorf("head %d, bad %v", head, bad)
	}
}

// TestLive reads while a log appends, settles and removes segments.
func TestLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := engine.NewConfig(dir)
	c.SegmentSize, c.SettleEvery, c.RemoveAfter, c.LooseMax = 1024, time.Millisecond, 0, -1
	log, err := engine.Open(c)
	must(t, err)
	defer log.Close()
	appendEntries(t, log, 1, 1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for next := uint64(2); next < 3000; next += 2 {
			select {
			case <-stop:
				return
			default:
			}
			body := entryText(next) + "\n" + entryText(next+1) + "\n"
			stored := make(chan error, 1)
			log.Append([]byte(body), 2, engine.Condition{}, func(_ engine.Result, err error) { stored <- err })
			if <-stored != nil {
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for head := uint64(0); head < 1000; {
		acked := log.Stats().Head
		l, err := reader.Open(reader.Config{Data: dir})
		must(t, err)
		if head = l.Head(); head < acked {
			t.Fatalf("head is %d, %d had been acknowledged", head, acked)
		}
		next := uint64(1)
		err = l.Read(context.Background(), 1, head, func(index uint64, entry []byte, _ int64, err error) error {
			if index != next || err != nil || string(entry) != entryText(index) {
				return fmt.Errorf("index %d, want %d: %s, %v", index, next, entry, err)
			}
			next++
			return nil
		})
		must(t, err)
	}
}

func TestStat(t *testing.T) {
	for _, tt := range []struct {
		loose  int
		remove bool
		want   reader.Stat
	}{
		{0, false, reader.Stat{Head: entries, First: 1, Settled: entries, Packed: entries, Marks: reader.Marks{Epoch: 1}}},
		{-1, true, reader.Stat{Head: entries, Settled: entries, Segments: 1, Loose: entries, Blobs: entries, Marks: reader.Marks{Epoch: 1}}},
	} {
		dir := build(t, tt.loose, tt.remove)
		l, err := reader.Open(reader.Config{Data: dir})
		must(t, err)
		got, err := l.Stat(t.Context())
		must(t, err)
		if tt.remove && got.First <= 1 || !tt.remove && got.Segments < 2 || got.SegmentBytes == 0 || got.IndexBytes == 0 || len(got.Store) != 32 || time.Since(got.Last) > time.Hour {
			t.Errorf("%+v", got)
		}
		sum, err := fsck.Check(t.Context(), fsck.Options{Data: dir, Through: got.Settled})
		must(t, err)
		if got.Digest != sum.Digest {
			t.Errorf("the digest is %s, fsck's is %s", got.Digest, sum.Digest)
		}
		got.Digest, got.Store, got.Last, got.SegmentBytes, got.IndexBytes, got.BlobBytes = "", "", time.Time{}, 0, 0, 0
		if tt.remove {
			got.First = 0
		} else {
			got.Segments = 0
		}
		if got != tt.want {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}
