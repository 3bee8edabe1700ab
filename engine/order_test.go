package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// watchedStore calls look in the middle of every commit.
type watchedStore struct {
	store
	look func()
}

func (w *watchedStore) commit(batch []byte, count int, now time.Time) error {
	w.look()
	err := w.store.commit(batch, count, now)
	w.look()
	return err
}

// TestBeforeTheSync: a batch that is not yet durable is invisible: it is not
// acknowledged, not part of the head, and cannot be read.
func TestBeforeTheSync(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"committed by its caller": 10, "committed by the committer": 2 * inlineMax} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, testConfig(t))
			mustAppend(t, l, "[0]")
			var acked atomic.Uint64
			acked.Store(1)
			w := &watchedStore{store: l.store}
			w.look = func() {
				time.Sleep(time.Millisecond) // anything premature happens meanwhile
				head, _ := l.Head(t.Context())
				shown, _ := l.Acked()
				if want := acked.Load(); head != want || shown > want {
					t.Errorf("during the commit of batch %d the head is %d, and %d for followers", want+1, head, shown)
				}
			}
			swapStore(l, w)
			entry := make([]byte, size)
			for i := range entry {
				entry[i] = 'x'
			}
			for n := uint64(2); n < 20; n++ {
				got := <-submit(l, `["`+string(entry)+`"]`)
				if got.err != nil || got.first != n {
					t.Fatalf("append is %+v, want index %d", got, n)
				}
				if head, _ := l.Head(t.Context()); head != n {
					t.Errorf("acknowledged at %d, the head is %d", n, head)
				}
				if n, want := len(readRange(t, l, n, n)), 1; n != want {
					t.Errorf("acknowledged, and %d entries can be read", n)
				}
				acked.Store(n)
			}
			swapStore(l, w.store)
		})
	}
}

// TestNotBeforeItsCommit: a completion runs after the commit, whoever commits.
func TestNotBeforeItsCommit(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	mustAppend(t, l, "[0]")
	var committed atomic.Uint64
	w := &watchedStore{store: l.store}
	looks := 0
	w.look = func() {
		if looks++; looks%2 == 0 { // the second is after the sync
			committed.Add(1)
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	swapStore(l, w)
	for n := uint64(1); n < 20; n++ {
		r := <-submit(l, "[1]")
		if r.err != nil {
			t.Fatal(r.err)
		}
		if got := committed.Load(); got < n {
			t.Fatalf("append %d is acknowledged after %d commits", n, got)
		}
	}
	swapStore(l, w.store)
}

// TestDamagedRecordKeepsSegment: a segment is removed only if the index has the hashes of
// its entries. A record can be intact and still be wrong.
func TestDamagedRecordKeepsSegment(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize, config.RemoveAfter, config.LooseMax = 1024, time.Hour, -1
	l := openLog(t, config)
	for _, e := range numbered(1, 100) {
		mustAppend(t, l, e)
	}
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wal := filepath.Join(config.Data, "wal")
	recs, err := segment.ReadRecords(wal, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	path, first, _ := segment.RecordPath(wal, 1)
	right := recs[0]
	recs[0] = recs[1] // this one has a blob
	if err := segment.WriteRecords(path, first, recs); err != nil {
		t.Fatal(err)
	}
	config.RemoveAfter = time.Millisecond
	again, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // the settler has done its work once another entry is settled
		mustAppend(t, again, "[]")
		settled(t, again)
		time.Sleep(config.RemoveAfter)
	}
	if s := again.Stats(); s.First != 1 {
		t.Errorf("stats are %+v: a segment was removed of which the index holds another entry", s)
	}
	if got := readRange(t, again, 1, 1); got[0] != `{"n":1}` {
		t.Errorf("entry 1 is %s", got[0])
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// For the check: the original record.
	fixed := filepath.Join(t.TempDir(), "one")
	if err := segment.WriteRecords(fixed, 1, []segment.Record{right}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(fixed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// TestShownAfterItsCompletion: followers see an entry only once its completion has
// run, so that no reader sees it before its writer knows.
func TestShownAfterItsCompletion(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	const appends = 50
	done := make(chan struct{}, appends)
	for n := range appends {
		entry := []byte(fmt.Sprintf("[%d]\n", n))
		l.Append(entry, 1, Condition{}, func(stored Result, err error) {
			if shown, _ := l.Acked(); err != nil || shown >= stored.First {
				t.Errorf("the completion of index %d runs (%v) when followers see %d", stored.First, err, shown)
			}
			done <- struct{}{}
		})
	}
	for range appends {
		<-done
	}
}
