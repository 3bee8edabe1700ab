package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// TestCard: what the log promises about the content of its directory.
func TestCard(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	const entry = `{"a":2,"b":1}`
	mustAppend(t, l, entry)
	settled(t, l)
	h := segment.Sum([]byte(entry)).String()
	b, err := os.ReadFile(filepath.Join(config.Data, "blobs", h[:2], h[2:]))
	if err != nil || string(b) != entry {
		t.Errorf("blob holds %q, %v", b, err)
	}
	fi, err := os.Stat(filepath.Join(config.Data, "wal", "00000000000000000001"))
	if err != nil || fi.Size() != segment.RecordSize+1 {
		t.Errorf("the index: %v, %v, want one record", fi, err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize = 1024
	l := openLog(t, config)
	want := numbered(1, 200)
	for _, e := range want { // one batch each
		mustAppend(t, l, e)
	}
	if s := l.Stats(); s.Segments < 10 || s.First != 1 || s.Head != 200 {
		t.Errorf("stats are %+v, want more segments", s)
	}
	sameEntries(t, readAll(t, l), want)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, readAll(t, openLog(t, config)), want)
}

func TestLooseMax(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ max, loose, files int }{{0, 0, 0}, {-1, -1, 100}, {30, 30, 30}, {100, 100, 100}, {1000, 100, 100}} {
		t.Run(fmt.Sprint(tt.max), func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			config.LooseMax = tt.max
			for round := range 2 { // the second finds what the first left
				l := openLog(t, config)
				if round == 0 {
					mustAppend(t, l, numbered(1, 100)...)
				}
				settled(t, l)
				if s := l.Stats(); s.Loose != tt.loose {
					t.Errorf("round %d: %d are loose, want %d", round, s.Loose, tt.loose)
				}
				if got := countBlobs(t, config); got != tt.files {
					t.Errorf("round %d: there are %d blobs, want %d", round, got, tt.files)
				}
				sameEntries(t, readAll(t, l), numbered(1, 100))
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func countBlobs(t testing.TB, config Config) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(config.Data, "blobs", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestDistinctEntries: equal entries share one blob and count once.
func TestDistinctEntries(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.LooseMax = 3
	l := openLog(t, config)
	want := append(strings.Fields(strings.Repeat("[1] [2] ", 100)), "[3]", "[4]", "[1]")
	mustAppend(t, l, want...)
	settled(t, l)
	if got := countBlobs(t, config); got != 3 || l.Stats().Loose != 3 {
		t.Errorf("there are %d blobs, stats %+v, want 3", got, l.Stats())
	}
	sameEntries(t, readAll(t, l), want)
}

// TestLooseMaxChanges: a log may be opened with a different limit each time; loose
// entries stay loose.
func TestLooseMaxChanges(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	var want []string
	for i, tt := range []struct{ max, files int }{{10, 10}, {0, 10}, {20, 20}, {5, 20}, {-1, 70}} {
		config.LooseMax = tt.max
		l := openLog(t, config)
		more := numbered(len(want)+1, 50)
		want = append(want, more...)
		mustAppend(t, l, more...)
		settled(t, l)
		if got := countBlobs(t, config); got != tt.files {
			t.Errorf("round %d: there are %d blobs, want %d", i, got, tt.files)
		}
		sameEntries(t, readAll(t, l), want)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoval removes settled segments while readers read the whole log all the time:
// none of them may ever miss an entry.
func TestRemoval(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize = 1024
	config.LooseMax = -1
	config.RemoveAfter = time.Millisecond
	l := openLog(t, config)
	const n = 300
	want := numbered(1, n)
	var reading sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		reading.Go(func() {
			for !stop.Load() {
				acked, _ := l.Acked()
				sameEntries(t, readRange(t, l, 1, acked), want[:acked])
			}
		})
	}
	for range 2 { // and these just where segments are removed
		reading.Go(func() {
			for !stop.Load() {
				if first := l.Stats().First; first <= n {
					if acked, _ := l.Acked(); acked >= first {
						sameEntries(t, readRange(t, l, first, first), want[first-1:first])
					}
				}
			}
		})
	}
	for _, e := range want {
		mustAppend(t, l, e)
	}
	settled(t, l)
	eventually(t, "all segments but the last removed", func() bool { s := l.Stats(); return s.Segments == 1 })
	stop.Store(true)
	reading.Wait()
	if s := l.Stats(); s.First < n/2 || s.Settled != n {
		t.Errorf("stats are %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openLog(t, config)
	sameEntries(t, readAll(t, again), want)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(c *Config){func(c *Config) { c.WAL = Memory }, func(c *Config) { c.Blobs = Memory }} {
		c := config
		change(&c)
		refuse(t, c, nil, "have no segment, so they need")
	}
}

// refuse checks that a log is not opened, that the error is is (nil: any) and contains
// says, and that not a byte of the directory has changed.
func refuse(t *testing.T, config Config, is error, says string) {
	t.Helper()
	before := tree(t, config.Data)
	l, err := Open(config)
	if err == nil {
		l.Close()
		t.Fatal("the log was opened")
	}
	if is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), says) {
		t.Errorf("error is %v, want %v with %q", err, is, says)
	}
	if after := tree(t, config.Data); after != before {
		t.Errorf("a refused store was changed from\n%sto\n%s", before, after)
	}
}

// TestPackedSegmentStays: a segment whose entries have no blobs is not removed, nor is
// any after it.
func TestPackedSegmentStays(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.LooseMax, config.RemoveAfter = 1024, 40, time.Millisecond
	l := openLog(t, config)
	for _, e := range numbered(1, 200) {
		mustAppend(t, l, e)
	}
	settled(t, l)
	eventually(t, "loose segments removed", func() bool { return l.Stats().First > 10 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.First > 41 {
		t.Errorf("stats are %+v: packed entries are gone", s)
	}
	again := openLog(t, config)
	sameEntries(t, readAll(t, again), numbered(1, 200))
}

// TestDamagedBlobKeepsSegment: a segment is removed only after each of its entries has
// been read back from its blob.
func TestDamagedBlobKeepsSegment(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.RemoveAfter = 1024, time.Hour
	l := openLog(t, config)
	for _, e := range numbered(1, 100) {
		mustAppend(t, l, e)
	}
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(config.Data, "blobs", segment.BlobPath(segment.Sum([]byte(`{"n":1}`))))
	if err := os.WriteFile(path, []byte(`{"n":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	config.RemoveAfter = time.Millisecond
	again := openLog(t, config)
	for i := range 50 {
		mustAppend(t, again, fmt.Sprintf("[%d]", i))
	}
	settled(t, again)
	for range 20 { // the settler has done its work once another entry is settled
		mustAppend(t, again, "[]")
		settled(t, again)
	}
	if s := again.Stats(); s.First != 1 {
		t.Errorf("stats are %+v: a segment was removed that was needed", s)
	}
	if got := readRange(t, again, 1, 1); got[0] != `{"n":1}` {
		t.Errorf("entry 1 is %s", got[0])
	}
	if err := os.WriteFile(path, []byte(`{"n":1}`), 0o600); err != nil { // for the check
		t.Fatal(err)
	}
}

// events collects log events.
type events struct {
	mu  sync.Mutex
	all strings.Builder
}

func (e *events) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.Write(b)
}

func (e *events) have(text string) bool { return e.count(text) > 0 }

func (e *events) count(text string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Count(e.all.String(), text)
}

// TestRemovalThatFails: when a segment cannot be removed, none after it is.
func TestRemovalThatFails(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize = 1024
	l := openLog(t, config)
	for _, e := range numbered(1, 100) {
		mustAppend(t, l, e)
	}
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before := l.Stats().Segments
	seen := &events{}
	config.RemoveAfter, config.Logger = 500*time.Millisecond, zerolog.New(seen)
	l = openLog(t, config)
	d := l.store.(*disk)
	d.mu.Lock() // the settler examines the segments, under mu, before it removes one
	d.unlink = func(path string) error { return &os.PathError{Op: "remove", Path: path, Err: os.ErrPermission} }
	d.mu.Unlock()
	eventually(t, "a removal that fails", func() bool { return seen.have(`"event":"remove"`) })
	for range 20 {
		mustAppend(t, l, "[]")
		settled(t, l)
	}
	if s := l.Stats(); s.First != 1 || s.Segments < before {
		t.Errorf("stats are %+v, there were %d segments: the chain is broken", s, before)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config.RemoveAfter = time.Hour
	sameEntries(t, readRange(t, openLog(t, config), 1, 100), numbered(1, 100))
}

// TestSettleFailure: while blobs cannot be written, entries stay in their segments,
// appends and reads continue, and the next start settles.
func TestSettleFailure(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	mustAppend(t, l, "[1]")
	settled(t, l)
	blobs := filepath.Join(config.Data, "blobs")
	if err := errors.Join(os.Rename(blobs, blobs+".away"), os.WriteFile(blobs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "[2]", "[3]")
	sameEntries(t, readAll(t, l), []string{"[1]", "[2]", "[3]"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Settled != 1 {
		t.Errorf("settled through %d without a directory for blobs", s.Settled)
	}
	if err := errors.Join(os.Remove(blobs), os.Rename(blobs+".away", blobs)); err != nil {
		t.Fatal(err)
	}
	again := openLog(t, config)
	settled(t, again)
	if got := countBlobs(t, config); got != 3 {
		t.Errorf("there are %d blobs, want 3", got)
	}
}

// TestDose: while appends come in, the backlog is settled at a rate that grows with it,
// in short stretches.
func TestDose(t *testing.T) {
	t.Parallel()
	every := NewConfig("").SettleEvery
	for _, tt := range []struct {
		name     string
		looseMax int
		busy     bool
		waiting  uint64
		entries  uint64
		rest     time.Duration
	}{
		{"quiet, files", 100, false, 1 << 30, settleQuiet, every},
		{"quiet, packed", 0, false, 1 << 30, settleChunk, every},
		{"a few files", -1, true, 10, settleBusy, every},
		{"more files", -1, true, 2 * settleBusy * settleRounds, settleBusy, every / 2},
		{"no more files than may be", 100, true, 1 << 30, settleBusy, every},
		{"very many files", -1, true, 100 * settleBusy * settleRounds, settleBusy, every / 100},
		{"few packed", 0, true, 10, settleStretch, every / (settleBusyPacked / settleStretch)},
		{"many packed", 0, true, 100 * settleStretch * settleRounds, settleStretch, every / 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := NewConfig("")
			config.LooseMax = tt.looseMax
			s := settler{d: &disk{cfg: config, blobs: new(segment.Blobs)}}
			s.d.settled.Store(1000)
			if entries, rest := s.dose(tt.busy, 1000+tt.waiting); entries != tt.entries || rest != tt.rest {
				t.Errorf("%d entries and a rest of %v, want %d and %v", entries, rest, tt.entries, tt.rest)
			}
		})
	}
}
