package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/engine/enginetest"
	"tcp-log-server/fsck"
)

// store is a store of blobs in memory whose calls tests can delay, fail and count.
type store struct {
	enginetest.Blobs

	mu     sync.Mutex
	mark   *engine.StoreID
	calls  int
	before func(ctx context.Context, call int, op string) error // nil for nothing
	after  func(call int, op string) error
	alter  func(hash engine.Hash, blob []byte) []byte // what Get returns
}

func (s *store) do(ctx context.Context, op string, fn func() error) error {
	s.mu.Lock()
	s.calls++
	call, before, after := s.calls, s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, call, op); err != nil {
			return err
		}
	}
	if err := fn(); err != nil || after == nil {
		return err
	}
	return after(call, op)
}

// set changes what the store does from now on.
func (s *store) set(before func(ctx context.Context, call int, op string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *store) Put(ctx context.Context, hash engine.Hash, blob []byte) (created bool, err error) {
	err = s.do(ctx, "put", func() error { created, err = s.Blobs.Put(ctx, hash, blob); return err })
	return created, err
}

func (s *store) Sync(ctx context.Context) error {
	return s.do(ctx, "sync", func() error { return nil })
}

func (s *store) Get(ctx context.Context, hash engine.Hash, limit int64) (blob []byte, err error) {
	err = s.do(ctx, "get", func() error { blob, err = s.Blobs.Get(ctx, hash, limit); return err })
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.alter != nil {
		blob = s.alter(hash, blob)
	}
	return blob, err
}

func (s *store) Has(ctx context.Context, hash engine.Hash) (there bool, err error) {
	err = s.do(ctx, "has", func() error { there, err = s.Blobs.Has(ctx, hash); return err })
	return there, err
}

func (s *store) List(ctx context.Context, prefix string, fn func(engine.BlobInfo) error) error {
	return s.do(ctx, "list", func() error { return s.Blobs.List(ctx, prefix, fn) })
}

func (s *store) FindMark(ctx context.Context) (id engine.StoreID, ok bool, err error) {
	err = s.do(ctx, "find mark", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mark != nil {
			id, ok = *s.mark, true
		}
		return nil
	})
	return id, ok, err
}

func (s *store) Mark(ctx context.Context, id engine.StoreID) error {
	return s.do(ctx, "mark", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mark = &id
		return nil
	})
}

func (s *store) String() string { return "test://blobs" }

var errDown = errors.New("nobody answers")

// down is the behaviour of an unreachable store.
func down(context.Context, int, string) error { return errDown }

// hangs is the behaviour of a store that takes calls and does not answer.
func hangs(ctx context.Context, _ int, _ string) error { <-ctx.Done(); return ctx.Err() }

func storeConfig(t testing.TB, s engine.BlobStore) engine.Config {
	c := engine.NewConfig(filepath.Join(t.TempDir(), "data"))
	c.BlobStore, c.SegmentSize, c.RemoveAfter, c.SettleEvery = s, 1<<10, 0, 10*time.Millisecond
	return c
}

func open(t testing.TB, c engine.Config) *engine.Log {
	t.Helper()
	l, err := engine.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t testing.TB, l *engine.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func line(i uint64) string { return fmt.Sprintf(`{"n":%d}`+"\n", i) }

// write appends the entries first to last, one batch each.
func write(t testing.TB, l *engine.Log, first, last uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		done := make(chan error, 1)
		l.Append([]byte(line(i)), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

// read returns which of the entries first to last are not as they were written, by the
// errors in their place, and the error that ended the read.
func read(t testing.TB, l *engine.Log, first, last uint64) (bad map[uint64]error, err error) {
	t.Helper()
	bad = map[uint64]error{}
	next := first
	err = l.Read(t.Context(), first, last, func(at uint64, count int, lines []byte, _ int64, err error) error {
		for ; count > 0; count-- {
			if at != next {
				t.Fatalf("read entry %d, want %d", at, next)
			}
			if err != nil {
				bad[at] = err
			} else if want := line(at); !bytes.HasPrefix(lines, []byte(want)) {
				t.Fatalf("entry %d is not as it was", at)
			} else {
				lines = lines[len(want):]
			}
			at, next = at+1, next+1
		}
		return nil
	})
	if err == nil && next != last+1 {
		t.Fatalf("read through %d, want %d", next-1, last)
	}
	return bad, err
}

func whole(t testing.TB, l *engine.Log, first, last uint64) {
	t.Helper()
	if bad, err := read(t, l, first, last); err != nil || len(bad) > 0 {
		t.Errorf("read %d to %d: %v, %v", first, last, bad, err)
	}
}

// until polls until ok; within a synctest bubble it takes no time.
func until(t testing.TB, l *engine.Log, ok func(engine.Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !ok(l.Stats()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %+v", l.Stats())
		}
	}
}

func settledAll(s engine.Stats) bool  { return s.Unsettled == 0 }
func removedSome(s engine.Stats) bool { return s.Unsettled == 0 && s.First > s.Head/2 }

func clean(t testing.TB, c engine.Config) {
	t.Helper()
	sum, err := fsck.Check(t.Context(), fsck.Options{Data: c.Data, BlobStore: c.BlobStore, OnFinding: func(f fsck.Finding) { t.Logf("%+v", f) }})
	if err != nil || sum.Errors > 0 || sum.Damaged > 0 {
		t.Errorf("fsck: %+v, %v", sum, err)
	}
}
