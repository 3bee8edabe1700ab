package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// recoverEntries is how many entries the stores of the recovery tests hold, in
// batches of recoverBatch and segments of at least two batches.
const (
	recoverEntries = 120
	recoverBatch   = 6
)

// storeFiles is a store that a test has made, closed, and is about to break.
type storeFiles struct {
	*testing.T
	config Config
	firsts []uint64 // of the segments
}

// makeStore makes a store, everything settled, with loose as its LooseMax.
func makeStore(t *testing.T, loose int) *storeFiles {
	t.Helper()
	config := testConfig(t)
	config.SegmentSize, config.LooseMax = 1024, loose
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	for first := 1; first <= recoverEntries; first += recoverBatch {
		if r := <-submit(l, recoverContents()[first-1:first-1+recoverBatch]...); r.err != nil {
			t.Fatal(r.err)
		}
	}
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	firsts, err := segment.List(filepath.Join(config.Data, "segments"))
	if err != nil || len(firsts) < 6 {
		t.Fatalf("segments are %v, %v", firsts, err)
	}
	// As a crash immediately afterwards leaves it.
	last, err := segment.CaptureFile(filepath.Join(config.Data, "segments", segment.Name(firsts[len(firsts)-1])))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last.Path, last.End); err != nil {
		t.Fatal(err)
	}
	return &storeFiles{t, config, firsts}
}

// copy returns a copy of the store for one test to break.
func (s *storeFiles) copy(t *testing.T) *storeFiles {
	t.Helper()
	c := *s
	c.T = t
	c.config.Data = filepath.Join(t.TempDir(), "data")
	c.must(os.CopyFS(c.config.Data, os.DirFS(s.config.Data)))
	return &c
}

// recoverContents are the entries: long enough for segments of 1 KiB to hold two batches.
func recoverContents() []string {
	entries := numbered(1, recoverEntries)
	for i, e := range entries {
		entries[i] = e[:len(e)-1] + `,"text":"` + strings.Repeat("t", 40) + `"}`
	}
	return entries
}

func (s *storeFiles) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// seg returns the path of a segment; negative numbers count from the end.
func (s *storeFiles) seg(i int) string {
	if i < 0 {
		i += len(s.firsts)
	}
	return filepath.Join(s.config.Data, "segments", segment.Name(s.firsts[i]))
}

func (s *storeFiles) wal() string { return filepath.Join(s.config.Data, "wal") }

func (s *storeFiles) records() string { return filepath.Join(s.wal(), "00000000000000000001") }

// edit changes a file.
func (s *storeFiles) edit(path string, change func(b []byte) []byte) {
	s.Helper()
	b, err := os.ReadFile(path)
	s.must(err)
	s.must(os.WriteFile(path, change(b), 0o600))
}

func (s *storeFiles) flip(path string, off int) {
	s.Helper()
	s.edit(path, func(b []byte) []byte {
		if off < 0 {
			off += len(b)
		}
		b[off] ^= 1
		return b
	})
}

// other makes another store of the same shape.
func (s *storeFiles) other() *storeFiles {
	s.Helper()
	return makeStore(s.T, 0)
}

func (s *storeFiles) swap(path, other string) {
	s.Helper()
	s.must(os.RemoveAll(path))
	s.must(os.Rename(other, path))
}

// dropBatch cuts the last batch off the last segment.
func (s *storeFiles) dropBatch() {
	s.Helper()
	s.edit(s.seg(-1), func(b []byte) []byte { return b[:bytes.LastIndex(b, []byte("BTCH"))] })
}

// resumHeader recomputes the header checksum of the segment in b.
func resumHeader(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[60:], segment.Checksum(b[:60]))
	return b
}

// TestRefused is the table of stores that are not opened. Not a byte of them may be
// changed.
func TestRefused(t *testing.T) {
	t.Parallel()
	whole := makeStore(t, 0)
	for _, tt := range []struct {
		name  string
		spoil func(s *storeFiles)
		is    error
		says  string
	}{
		{"a middle segment is missing", func(s *storeFiles) { s.must(os.Remove(s.seg(3))) }, ErrDamaged, "segment begins at index"},
		{"the last segment is missing", func(s *storeFiles) { s.must(os.Remove(s.seg(-1))) }, ErrDamaged, "the index has records through 120, the segments end at"},
		{"all segments are missing", func(s *storeFiles) { s.must(os.RemoveAll(filepath.Dir(s.seg(0)))) }, ErrDamaged, "but no segments"},
		{"a middle segment is of another store", func(s *storeFiles) { s.swap(s.seg(2), s.other().seg(2)) }, ErrDamaged, "segment belongs to store"},
		{"a middle segment is shorter than the next one says", func(s *storeFiles) {
			s.edit(s.seg(2), func(b []byte) []byte { return b[:bytes.LastIndex(b, []byte("BTCH"))] })
		}, ErrDamaged, "segment begins at index"},
		{"a middle segment is of another chain", func(s *storeFiles) {
			s.edit(s.seg(2), func(b []byte) []byte { b[48] ^= 1; return resumHeader(b) })
		}, ErrDamaged, "segment follows checksum"},
		{"a segment under another's name", func(s *storeFiles) { s.must(os.Rename(s.seg(-1), s.seg(-2))) }, ErrDamaged, "the name says"},
		{"a segment's header is damaged", func(s *storeFiles) { s.flip(s.seg(0), 33) }, ErrDamaged, "header checksum"},
		{"a segment's header is cut", func(s *storeFiles) { s.must(os.Truncate(s.seg(-1), 63)) }, ErrDamaged, "header is 63 bytes"},
		{"a segment is empty", func(s *storeFiles) { s.must(os.Truncate(s.seg(2), 0)) }, ErrDamaged, "header is 0 bytes"},
		{"a segment is a directory", func(s *storeFiles) { s.must(os.Remove(s.seg(2))); s.must(os.Mkdir(s.seg(2), 0o700)) }, ErrDamaged, "not a regular file"},
		{"the open segment lacks a batch that the index has", (*storeFiles).dropBatch, ErrDamaged, "the index has records through 120, the segments end at 114"},
		{"the open segment's last batch is cut, which the index has", func(s *storeFiles) {
			s.edit(s.seg(-1), func(b []byte) []byte { return b[:len(b)-1] })
		}, ErrDamaged, "the segments end at 114"},
		{"the open segment's last batch is damaged, which the index has", func(s *storeFiles) { s.flip(s.seg(-1), -3) }, ErrDamaged, "not an unfinished write"},
		{"the open segment is damaged before its last batch", func(s *storeFiles) {
			s.must(os.RemoveAll(s.wal()))
			s.edit(s.seg(-1), func(b []byte) []byte { return append(b, 0) })
			s.flip(s.seg(-1), segment.HeaderSize+segment.BatchHeaderSize+3)
		}, ErrDamaged, "batch checksum"},
		{"the index is of another store", func(s *storeFiles) { s.swap(s.wal(), s.other().wal()) }, ErrDamaged, "belongs to store"},
		{"the blobs are of another store, and the index is torn", func(s *storeFiles) {
			o := s.other()
			s.swap(filepath.Join(s.config.Data, "blobs"), filepath.Join(o.config.Data, "blobs"))
			s.must(os.Truncate(s.records(), 1000))
		}, ErrDamaged, "belongs to store"},
		{"two marks", func(s *storeFiles) {
			s.must(os.Mkdir(filepath.Join(s.wal(), "store-"+strings.Repeat("0", 32)), 0o700))
		}, ErrDamaged, "marked as part of two stores"},
		{"a sign to tidwall/wal to delete", func(s *storeFiles) {
			s.must(os.WriteFile(filepath.Join(s.wal(), "00000000000000000099.START"), nil, 0o600))
		}, ErrDamaged, "not its own"},
		{"the first segments and the index are missing", func(s *storeFiles) {
			s.must(os.Remove(s.seg(0)))
			s.must(os.RemoveAll(s.wal()))
		}, ErrDamaged, "the index is missing"},
		{"the first segments are missing, and records of theirs", func(s *storeFiles) {
			s.must(os.Remove(s.seg(0)))
			s.flip(s.records(), 49*3)
		}, ErrDamaged, "indices 4 to"},
		{"a later version", func(s *storeFiles) {
			s.edit(s.seg(-1), func(b []byte) []byte {
				b[8] = 2
				return resumHeader(b)
			})
		}, segment.ErrVersion, "format is 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := whole.copy(t)
			tt.spoil(s)
			refuse(t, s.config, tt.is, tt.says)
			if _, err := Open(s.config); errors.Is(err, ErrDamaged) != (tt.is == ErrDamaged) || !strings.Contains(err.Error(), "tcp-log-server fsck") {
				t.Errorf("error is %v: want one that names fsck, and damage only where there is", err)
			}
		})
	}
}

// TestRefusedBlobsAlone: a directory with only blobs is not a new log.
func TestRefusedBlobsAlone(t *testing.T) {
	t.Parallel()
	s := makeStore(t, -1)
	s.must(os.RemoveAll(s.wal()))
	s.must(os.RemoveAll(filepath.Dir(s.seg(0))))
	refuse(t, s.config, ErrDamaged, "120 blobs")
}

// TestRecovered is the table of what a start repairs, and which entries exist after it.
func TestRecovered(t *testing.T) {
	t.Parallel()
	whole := makeStore(t, 50)
	for _, tt := range []struct {
		name  string
		spoil func(s *storeFiles)
		head  int
	}{
		{"nothing is wrong", func(*storeFiles) {}, 120},
		{"a torn batch", func(s *storeFiles) {
			s.edit(s.seg(-1), func(b []byte) []byte { return append(b, "BTCH torn"...) })
		}, 120},
		{"zeros behind the last batch", func(s *storeFiles) {
			s.edit(s.seg(-1), func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) })
		}, 120},
		{"the last batch is torn, and not in the index", func(s *storeFiles) {
			s.must(os.RemoveAll(s.wal()))
			s.edit(s.seg(-1), func(b []byte) []byte { return b[:len(b)-1] })
		}, 114},
		{"the last batch is gone, and not in the index", func(s *storeFiles) {
			s.must(os.RemoveAll(s.wal()))
			s.dropBatch()
		}, 114},
		{"the index is gone", func(s *storeFiles) { s.must(os.RemoveAll(s.wal())) }, 120},
		{"the index is empty", func(s *storeFiles) { s.must(os.Truncate(s.records(), 0)) }, 120},
		{"the index lags", func(s *storeFiles) { s.must(os.Truncate(s.records(), 49*50)) }, 120},
		{"the index is torn", func(s *storeFiles) { s.must(os.Truncate(s.records(), 49*50+20)) }, 120},
		{"a record is damaged", func(s *storeFiles) { s.flip(s.records(), 49*70+5) }, 120},
		{"zeros behind the records", func(s *storeFiles) {
			s.edit(s.records(), func(b []byte) []byte { return append(b, make([]byte, 4096)...) })
		}, 120},
		{"the blobs are gone", func(s *storeFiles) { s.must(os.RemoveAll(filepath.Join(s.config.Data, "blobs"))) }, 120},
		{"a segment that was being made", func(s *storeFiles) {
			s.must(os.WriteFile(filepath.Join(s.config.Data, "segments", segment.NextName), []byte("TCPLSEG\n"), 0o600))
		}, 120},
		{"a blob that was being written", func(s *storeFiles) {
			s.must(os.WriteFile(filepath.Join(s.config.Data, "blobs", "blob.tmp"), []byte("{"), 0o600))
		}, 120},
		{"the last segment was begun and nothing more", func(s *storeFiles) {
			l, err := segment.CaptureFile(s.seg(-1))
			s.must(err)
			w, err := segment.Create(filepath.Dir(s.seg(0)), segment.Header{Store: l.Header.Store, First: l.Last + 1, Prev: l.Sum}, 1<<20)
			s.must(err)
			s.must(w.Close())
		}, 120},
		{"a full segment was not sealed", func(s *storeFiles) {
			f, err := segment.CaptureFile(s.seg(2))
			s.must(err)
			s.must(os.Truncate(s.seg(2), f.End))
		}, 120},
		{"a full segment was not sealed, and zeros follow", func(s *storeFiles) {
			f, err := segment.CaptureFile(s.seg(-2))
			s.must(err)
			s.must(os.Truncate(s.seg(-2), f.End))
			s.must(os.Truncate(s.seg(-2), 1<<20))
		}, 120},
		{"sealing was cut in the footer", func(s *storeFiles) {
			s.edit(s.seg(-2), func(b []byte) []byte { clear(b[len(b)-20:]); return b })
		}, 120},
		{"sealing was cut in the table", func(s *storeFiles) {
			s.edit(s.seg(-2), func(b []byte) []byte { return b[:len(b)-70] })
		}, 120},
		{"two segments were not sealed", func(s *storeFiles) {
			for _, i := range []int{2, 4} {
				s.edit(s.seg(i), func(b []byte) []byte { return b[:len(b)-1] })
			}
		}, 120},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := whole.copy(t)
			tt.spoil(s)
			want := slices.Clone(recoverContents()[:tt.head])
			for range 2 { // the second finds nothing more to repair
				l := openLog(t, s.config)
				sameEntries(t, readAll(t, l), want)
				mustAppend(t, l, `{"new":1}`)
				want = append(want, `{"new":1}`)
				sameEntries(t, readAll(t, l), want)
				settled(t, l)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				checkStore(t, s.config)
			}
		})
	}
}

func TestLocked(t *testing.T) {
	config := testConfig(t)
	l := openLog(t, config)
	if _, err := Open(config); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), config.Data) {
		t.Errorf("error is %v, want ErrLocked and the directory", err)
	}
	mustAppend(t, l, "[]") // the first one is unharmed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLog(t, config)
	sameEntries(t, readAll(t, again), []string{"[]"})
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		change func(c *Config)
		says   string
	}{
		{func(c *Config) { c.Data = "" }, "Data is empty"},
		{func(c *Config) { c.LooseMax = -2 }, "LooseMax is -2"},
		{func(c *Config) { c.SegmentSize = 1023 }, "SegmentSize is 1023"},
		{func(c *Config) { c.SegmentSize = 1<<30 + 1 }, "SegmentSize is 1073741825"},
	} {
		config := testConfig(t)
		tt.change(&config)
		if _, err := Open(config); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("error is %v, want %q", err, tt.says)
		}
	}
}

// TestOtherDirectories: the index and the blobs may be anywhere, and belong to the
// segments with which they are used again, not to those of another log.
func TestOtherDirectories(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	elsewhere := t.TempDir()
	config.WAL, config.Blobs = filepath.Join(elsewhere, "a", "wal"), filepath.Join(elsewhere, "blobs")
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 20)...)
	settled(t, l)
	other := testConfig(t)
	other.WAL, other.Blobs = config.WAL, config.Blobs
	if err := os.Mkdir(other.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refuse(t, other, ErrDamaged, "index records")
	sameEntries(t, readAll(t, openLog(t, config)), numbered(1, 20))
}
