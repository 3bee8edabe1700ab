package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/segment"
)

// evicted returns a log of 600 entries, most of which are only in the archive a.
func evicted(t *testing.T) (c Config, a *fakeArchive, l *Log, all []string) {
	a = newFakeArchive()
	c = keepConfig(t, a)
	l = openKeep(t, c)
	all = padded(1, 600)
	mustAppend(t, l, all...)
	keptDown(t, l)
	return c, a, l, all
}

// TestArchiveDown: while the archive is down, the log opens, takes appends, and reads local
// entries; a read of others ends with an error that says so. Nothing is damaged.
func TestArchiveDown(t *testing.T) {
	c, a, l, all := evicted(t)
	closeLog(t, l)
	a.set(func() { a.down = true })
	l = openKeep(t, c)
	first := l.Stats().First
	sameEntries(t, readRange(t, l, first, 600), all[first-1:])
	mustAppend(t, l, `{"more":1}`)
	got := 0
	err := l.Read(t.Context(), 1, 600, func(_ uint64, count int, _ []byte, _ int64, err error) error {
		got += count
		return err
	})
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDamaged) || got > 0 {
		t.Errorf("read %d entries, %v; want ErrUnavailable", got, err)
	}
	a.set(func() { a.down = false })
	sameEntries(t, readRange(t, l, 1, 600), all)

	// It goes down in the middle of a read.
	next := uint64(1)
	err = l.Read(t.Context(), 1, 600, func(first uint64, count int, _ []byte, _ int64, err error) error {
		next = first + uint64(count)
		if next > 100 {
			a.set(func() { a.down = true })
		}
		return err
	})
	if !errors.Is(err, ErrUnavailable) || next <= 100 || next > first {
		t.Errorf("the read ended at %d, %v", next, err)
	}
	a.set(func() { a.down = false })
	sameEntries(t, readRange(t, l, next, 600), all[next-1:])

	ctx, cancel := context.WithCancel(t.Context())
	err = l.Read(ctx, 1, 600, func(uint64, int, []byte, int64, error) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a read whose context ended: %v", err)
	}
}

// checkFar reads everything: each entry is as it was, or an error that wraps ErrDamaged.
func checkFar(t *testing.T, l *Log, all []string) (bad []uint64) {
	t.Helper()
	next := uint64(1)
	err := l.Read(t.Context(), 1, uint64(len(all)), func(first uint64, count int, entries []byte, _ int64, err error) error {
		if first != next {
			return fmt.Errorf("a run from %d, want it from %d", first, next)
		}
		for range count {
			switch {
			case err != nil && !errors.Is(err, ErrDamaged):
				return err
			case err != nil:
				bad = append(bad, next)
			default:
				line, rest, _ := strings.Cut(string(entries), "\n")
				if entries = []byte(rest); line != all[next-1] {
					return fmt.Errorf("entry %d is %s", next, line)
				}
			}
			next++
		}
		return nil
	})
	if err != nil || next != uint64(len(all))+1 {
		t.Fatalf("the read ended at %d: %v", next, err)
	}
	return bad
}

// TestArchiveWrongBytes: bytes that were altered in transit are read again; if the archive
// itself has altered them, only the affected entry is an error.
func TestArchiveWrongBytes(t *testing.T) {
	_, a, l, all := evicted(t)
	forget := func() { // as after a start
		l.disk.parked.clear()
		l.disk.archived.mu.Lock()
		l.disk.archived.open = nil
		l.disk.archived.mu.Unlock()
	}
	first := a.firsts()[2]
	whole := slices.Clone(a.files[first])
	for off := 0; off < len(whole); off += 7 {
		altered := slices.Clone(whole)
		altered[off] ^= 0x20
		a.set(func() { a.spoilt[first] = altered })
		forget()
		if bad := checkFar(t, l, all); len(bad) > 0 {
			t.Fatalf("offset %d altered on the way: entries %v cannot be read", off, bad)
		}
		a.set(func() { clear(a.spoilt); a.files[first] = altered })
		forget()
		// Header, footer and store are checked as a whole: without them nothing is served.
		bad := checkFar(t, l, all)
		inBatches := off >= segment.HeaderSize && off < len(whole)-segment.FooterSize
		if inBatches && len(bad) > 1 {
			t.Fatalf("offset %d altered in the archive: entries %v cannot be read", off, bad)
		}
		a.set(func() { a.files[first] = whole })
	}
}

// TestArchiveLacksSegment: the entries of a segment that the archive has lost are errors,
// except those with blobs.
func TestArchiveLacksSegment(t *testing.T) {
	c, a, l, all := evicted(t)
	closeLog(t, l)
	firsts := a.firsts()
	a.set(func() { delete(a.files, firsts[0]); delete(a.files, firsts[3]) })
	l = openKeep(t, c)
	bad := checkFar(t, l, all)
	var want []uint64
	for i := range uint64(600) {
		if n := i + 1; n < firsts[1] || n >= firsts[3] && n < firsts[4] {
			want = append(want, n)
		}
	}
	if !slices.Equal(bad, want) {
		t.Errorf("entries %v cannot be read, want %v", bad, want)
	}
}

// TestArchiveOfAnotherLog: segments of another log are not served.
func TestArchiveOfAnotherLog(t *testing.T) {
	_, other, l, _ := evicted(t)
	closeLog(t, l)
	c, a, l, all := evicted(t)
	closeLog(t, l)
	a.set(func() { a.files = maps.Clone(other.files) })
	first := l.Stats().First
	l = openKeep(t, c)
	if bad := checkFar(t, l, all); uint64(len(bad)) != first-1 {
		t.Errorf("%d entries cannot be read, want the %d that are in the archive", len(bad), first-1)
	}
}

// TestArchiveNeeded: a log with entries in an archive does not open without it, or with a
// damaged ARCHIVE file, and nothing is changed.
func TestArchiveNeeded(t *testing.T) {
	c, _, l, all := evicted(t)
	closeLog(t, l)
	without := c
	without.Archive, without.KeepLocal = nil, 0
	if _, err := Open(without); err == nil || !strings.Contains(err.Error(), "are in the archive at fake") {
		t.Errorf("opened without the archive: %v", err)
	}
	path := filepath.Join(c.Data, segment.ArchiveName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(c); !errors.Is(err, ErrDamaged) {
			t.Errorf("opened by the file %q: %v", text, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path+" is missing") {
		t.Errorf("opened without the file: %v", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, readAll(t, openKeep(t, c)), all)
}

// TestArchiveReadersAndEviction: reads, one of them slow, continue while segments are appended
// and removed.
func TestArchiveReadersAndEviction(t *testing.T) {
	a := newFakeArchive()
	c := keepConfig(t, a)
	l := openKeep(t, c)
	all := padded(1, 1500)
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			next := uint64(1)
			for next <= uint64(len(all)) {
				_, moved := l.Acked()
				err := l.Read(t.Context(), next, next+uint64(20*i+1), func(first uint64, count int, entries []byte, _ int64, err error) error {
					if want := strings.Join(all[first-1:int(first)-1+count], "\n") + "\n"; err != nil || string(entries) != want {
						return fmt.Errorf("entries from %d are %s (%w)", first, entries, err)
					}
					next = first + uint64(count)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if head, _ := l.Head(t.Context()); next > head && next <= uint64(len(all)) {
					<-moved
				}
			}
		})
	}
	for i := 0; i < len(all); i += 50 {
		mustAppend(t, l, all[i:i+50]...)
	}
	readers.Wait()
	keptDown(t, l)
}
