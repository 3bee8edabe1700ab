package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/segment"
)

// TestStatsCount: after known work the counts match exactly that work, whether the log is in
// memory or on disk, and a reopened log begins at 0.
func TestStatsCount(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, config Config) {
		config.SegmentSize = 1 << 20
		var batches, entries, bytes int
		var syncing time.Duration
		config.OnBatch = func(n, size int, took time.Duration) {
			batches, entries, bytes, syncing = batches+1, entries+n, bytes+size, syncing+took
			if took <= 0 {
				t.Errorf("a batch took %v", took)
			}
		}
		l := openLog(t, config)
		for i := range 10 {
			if r := <-submit(l, numbered(i*3+1, 3)...); r.err != nil {
				t.Fatal(r.err)
			}
		}
		if r := <-submit(l); r.err != nil { // of no entries: no batch
			t.Fatal(r.err)
		}
		want := len(strings.Join(numbered(1, 30), "\n")) + 1
		s := l.Stats()
		if s.Head != 30 || s.Entries != 30 || s.Written != uint64(want) || s.Batches != 10 || s.Refused != 0 || s.Failed {
			t.Errorf("stats are %+v, want 30 entries of %d bytes in 10 batches", s, want)
		}
		if s.Syncing != syncing {
			t.Errorf("the batches took %v, want %v", s.Syncing, syncing)
		}
		if batches != 10 || entries != 30 || bytes != want {
			t.Errorf("OnBatch was told of %d entries, %d bytes, %d batches, want 30, %d, 10", entries, bytes, batches, want)
		}
		if err := l.Refusing(); err != nil {
			t.Errorf("appends are refused: %v", err)
		}
		if config.Data == Memory || config.WAL == Memory && config.Blobs == Memory {
			return
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		config.OnBatch = nil
		l = openLog(t, config)
		if s := l.Stats(); s.Head != 30 || s.Entries != 0 || s.Written != 0 || s.Batches != 0 {
			t.Errorf("stats of a log opened again are %+v, want nothing appended", s)
		}
	})
}

// TestStatsPlaces: which entries are loose and packed, and how many bytes they take.
func TestStatsPlaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		loose         int // LOOSE_MAX
		wantLoose     int
		wantPacked    uint64
		wantUnsettled uint64
	}{
		{loose: 100, wantLoose: 40},
		{loose: 25, wantLoose: 25, wantPacked: 40},
		{loose: 0, wantPacked: 40},
		{loose: -1, wantLoose: -1},
	} {
		t.Run(fmt.Sprint(tt.loose), func(t *testing.T) {
			config := testConfig(t)
			config.LooseMax, config.SegmentSize = tt.loose, 1<<20
			l := openLog(t, config)
			if r := <-submit(l, numbered(1, 40)...); r.err != nil {
				t.Fatal(r.err)
			}
			settled(t, l)
			s := l.Stats()
			if s.Loose != tt.wantLoose || s.Packed != tt.wantPacked || s.Unsettled != 0 {
				t.Errorf("stats are %+v, want %d loose, %d packed and none unsettled", s, tt.wantLoose, tt.wantPacked)
			}
			want := segment.HeaderSize + segment.BatchHeaderSize + int64(s.Written) + 40*segment.RecordSize
			if s.Bytes != want {
				t.Errorf("bytes are %d, want %d", s.Bytes, want)
			}
		})
	}
}

// TestRefusing: the stats say why appends are refused from the first refused batch to
// the first that is stored, or until the reason is too old.
func TestRefusing(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	f := &faultyStore{store: l.store}
	swapStore(l, f)
	mustAppend(t, l, "[1]")
	f.err = fmt.Errorf("%w: no space left", segment.ErrNotWritten)
	for range 2 {
		<-submit(l, "[2]")
	}
	if err := l.Refusing(); err == nil || !strings.Contains(err.Error(), "no space left") || errors.Is(err, ErrFailed) {
		t.Errorf("appends are refused because of %v, want the disk", err)
	}
	if s := l.Stats(); s.Refused != 2 || s.Entries != 1 || s.Failed {
		t.Errorf("stats are %+v, want 2 batches refused and 1 entry", s)
	}
	why := f.err
	f.err = nil
	mustAppend(t, l, "[3]")
	if err := l.Refusing(); err != nil {
		t.Errorf("appends are refused after one was stored: %v", err)
	}
	l.counts.refusal.Store(&refusal{err: why, at: time.Now().Add(-refusalLasts)})
	if err := l.Refusing(); err != nil {
		t.Errorf("appends are refused because of something of %v ago: %v", refusalLasts, err)
	}
}

// TestRefusingForGood: a failed sync, and the end of the log, are permanent.
func TestRefusingForGood(t *testing.T) {
	t.Parallel()
	l, err := Open(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	f := &faultyStore{store: l.store, err: fmt.Errorf("%w: I/O error", segment.ErrSync)}
	swapStore(l, f)
	<-submit(l, "[1]")
	<-submit(l, "[2]")
	if err := l.Refusing(); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "I/O error") {
		t.Errorf("appends are refused because of %v, want ErrFailed and its cause", err)
	}
	if s := l.Stats(); !s.Failed || s.Refused != 2 {
		t.Errorf("stats are %+v, want a failed log and 2 batches refused", s)
	}
	l.Close()
	memory := openLog(t, Config{Data: Memory, SegmentSize: 1 << 20})
	if err := memory.Close(); err != nil {
		t.Fatal(err)
	}
	if err := memory.Refusing(); !errors.Is(err, ErrClosed) {
		t.Errorf("appends to a closed log are refused because of %v, want ErrClosed", err)
	}
}

// TestPace: the rate is that of the last whole seconds, whatever happened in the current one,
// and seconds without a batch count.
func TestPace(t *testing.T) {
	const s = time.Second
	var p pace
	p.heads[0] = 1000
	head := uint64(1000)
	commit := func(at time.Duration, n uint64) {
		p.note(at, head)
		head += n
	}
	want := func(at time.Duration, rate float64) {
		t.Helper()
		if got := p.rate(at, head); got != rate {
			t.Errorf("rate at %v is %v, want %v", at, got, rate)
		}
	}
	want(s/2, 0)
	commit(s/2, 10)
	want(s/2, 0)
	want(s, 10) // one second with 10
	commit(s+s/2, 30)
	commit(s+s/2, 5)
	want(s+s/2, 10)
	want(2*s, 22.5)
	want(5*s, 9)
	want(6*s, 7) // the first second is out of it
	want(7*s, 0) // and the second one
	want(1_000_000*s, 0)
	commit(20*s, 100)
	want(20*s, 0)
	want(21*s, 20)
	want(25*s, 20)
	want(26*s, 0)
	for at := 30 * s; at < 50*s; at += s / 4 {
		commit(at, 50)
	}
	want(50*s, 200)
	want(52*s, 120)
}

// hungStore takes long for a commit.
type hungStore struct {
	store
	entered, leave chan struct{}
}

func (h *hungStore) commit(batch []byte, count int, now time.Time) error {
	close(h.entered)
	<-h.leave
	return h.store.commit(batch, count, now)
}

// TestStatsWhileTheDiskHangs: Stats does not wait for the disk, and reports that it hangs once
// a commit has taken long enough, however long the log was idle before.
func TestStatsWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(NewConfig(Memory))
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, "[1]")
		time.Sleep(time.Hour)
		h := &hungStore{store: l.store, entered: make(chan struct{}), leave: make(chan struct{})}
		swapStore(l, h)
		done := make(chan (<-chan result), 1)
		go func() { done <- submit(l, "[2]") }()
		<-h.entered
		// The leader has not begun its batch yet, as far as others can see.
		start := l.lastStart.Swap(0)
		if err := l.Refusing(); err != nil {
			t.Errorf("right after an idle hour appends are refused because of %v", err)
		}
		l.lastStart.Store(start)
		if s := l.Stats(); s.Head != 1 || s.Entries != 1 || s.Refused != 0 {
			t.Errorf("stats are %+v, want 1 entry", s)
		}
		if err := l.Refusing(); err != nil {
			t.Errorf("appends are refused at once because of %v", err)
		}
		time.Sleep(time.Minute)
		if err := l.Refusing(); err == nil || !strings.Contains(err.Error(), "the disk has not answered for 1m") {
			t.Errorf("appends are refused because of %v, want the disk", err)
		}
		close(h.leave)
		if r := <-<-done; r.err != nil {
			t.Fatal(r.err)
		}
		swapStore(l, h.store)
		synctest.Wait()
		if err := l.Refusing(); err != nil {
			t.Errorf("once the disk has answered appends are refused because of %v", err)
		}
		l.Close()
	})
}
