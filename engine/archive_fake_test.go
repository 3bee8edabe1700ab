package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// fakeArchive is an archive in memory behind a cache that can be corrupted.
type fakeArchive struct {
	mu     sync.Mutex
	keeps  bool              // it takes each segment that it is asked to compare
	files  map[uint64][]byte // by first index
	spoilt map[uint64][]byte // the cache's content instead, until it is told to forget
	down   bool
	reads  int
	forgot int
}

func newFakeArchive() *fakeArchive {
	return &fakeArchive{keeps: true, files: map[uint64][]byte{}, spoilt: map[uint64][]byte{}}
}

func (a *fakeArchive) String() string { return "fake:" }

func (a *fakeArchive) unavailable() error {
	if a.down {
		return fmt.Errorf("bucket: %w", ErrUnavailable)
	}
	return nil
}

func (a *fakeArchive) firsts() (firsts []uint64) {
	for first := range a.files {
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	return firsts
}

func (a *fakeArchive) Open(ctx context.Context, index uint64) (ArchivedSegment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.unavailable(); err != nil {
		return nil, err
	}
	found := uint64(0)
	for _, first := range a.firsts() {
		if first <= index {
			found = first
		}
	}
	if found == 0 {
		return nil, &segment.DamageError{Path: "fake:", First: index, Last: a.firsts()[0] - 1, Err: fmt.Errorf("%w: the archive has no segment of it", ErrDamaged)}
	}
	return &fakeSegment{a, found, int64(len(a.files[found]))}, nil
}

func (a *fakeArchive) Same(ctx context.Context, first uint64, local io.ReaderAt, size int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.unavailable(); err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := local.ReadAt(b, 0); err != nil {
		return err
	}
	have, ok := a.files[first]
	switch {
	case !ok && a.keeps:
		a.files[first] = b
	case !ok:
		return ErrNotArchived
	case !bytes.Equal(have, b):
		return fmt.Errorf("%w: the archive's copy is another", ErrDamaged)
	}
	return nil
}

// set changes the archive.
func (a *fakeArchive) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

type fakeSegment struct {
	a     *fakeArchive
	first uint64
	size  int64
}

func (s *fakeSegment) Name() string  { return "fake:" + segment.Name(s.first) }
func (s *fakeSegment) First() uint64 { return s.first }
func (s *fakeSegment) Size() int64   { return s.size }

func (s *fakeSegment) Through() uint64 {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	for _, first := range s.a.firsts() {
		if first > s.first {
			return first - 1
		}
	}
	return math.MaxUint64
}

func (s *fakeSegment) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	s.a.reads++
	if err := s.a.unavailable(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b, ok := s.a.files[s.first]
	if !ok {
		return 0, fmt.Errorf("%w: the archive has no such segment any more", ErrDamaged)
	}
	if spoilt, ok := s.a.spoilt[s.first]; ok {
		b = spoilt
	}
	return bytes.NewReader(b).ReadAt(p, off)
}

func (s *fakeSegment) Forget() {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	s.a.forgot++
	delete(s.a.spoilt, s.first)
}

// keepConfig is a log with small segments that keeps few of them.
func keepConfig(t testing.TB, a *fakeArchive) Config {
	c := testConfig(t)
	c.Archive, c.KeepLocal, c.LooseMax = a, 10<<10, 0
	c.RemoveAfter = time.Hour
	return c
}

// openKeep opens a log that may have segments only in an archive; the test closes it.
func openKeep(t testing.TB, c Config) *Log {
	t.Helper()
	if note, err := segment.ReadArchived(c.Data); err == nil && note.URL == "" && c.Data != "" {
		if err := errors.Join(segment.MakeDir(c.Data), segment.WriteArchived(c.Data, segment.Archived{URL: "fake:", Instance: "1"})); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// padded returns n entries of roughly 100 bytes from index first on.
func padded(first, n int) (entries []string) {
	for i := range n {
		entries = append(entries, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, first+i, strings.Repeat("x", 60+(first+i)%50)))
	}
	return entries
}

// keptDown waits until the log keeps no more than it should.
func keptDown(t testing.TB, l *Log) {
	t.Helper()
	eventually(t, "the segments beyond KeepLocal removed", func() bool {
		s := l.Stats()
		return s.Settled == s.Head && !l.disk.overfull() && s.First > 1
	})
}

// copyOf copies the directory of a log.
func copyOf(t testing.TB, data string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	return dir
}
