package engine

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// outcome is the arguments of an append's completion.
type outcome struct {
	Result
	err error
}

// give appends entries on a condition.
func give(l *Log, on Condition, entries ...string) <-chan outcome {
	ch := make(chan outcome, 1)
	l.Append([]byte(strings.Join(entries, "\n")+"\n"), len(entries), on, func(r Result, err error) { ch <- outcome{r, err} })
	return ch
}

var once = Condition{Kind: appends.Once}

func expect(head uint64) Condition { return Condition{Kind: appends.Expect, Head: head} }

// places returns the places of entries, without their times.
func places(o outcome) (all []string) {
	for _, p := range o.Once {
		s := fmt.Sprint(p.Index)
		if p.Seen {
			s += " seen"
		}
		all = append(all, s)
	}
	return all
}

// onceConfigs returns configurations that keep entries, and the lookup data, in different places.
func onceConfigs(t *testing.T) map[string]Config {
	memory := NewConfig(Memory)
	noIndex, noBlobs, small := testConfig(t), testConfig(t), testConfig(t)
	noIndex.WAL, noBlobs.Blobs, small.tableRows = Memory, Memory, 3
	return map[string]Config{"disk": testConfig(t), "memory": memory, "no index": noIndex, "no blobs": noBlobs, "small tables": small}
}

// TestOnce: an entry is stored once, whether the equal one was written with or without Once, long
// before, just before, or by the same append; and each gets the place of the first.
func TestOnce(t *testing.T) {
	t.Parallel()
	for name, config := range onceConfigs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := openLog(t, config)
			began := time.Now().UnixMicro()
			mustAppend(t, l, "[1]", "[2]", "[1]", "[3]")
			if o := <-give(l, once, "[1]"); !errors.Is(o.err, ErrNotStored) {
				t.Errorf("before AwaitOnce: %v", o.err)
			}
			if err := l.AwaitOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				on      Condition
				entries string
				want    string
			}{
				{once, "[1]", "1 seen"},
				{once, "[3] [2] [1]", "4 seen,2 seen,1 seen"},
				{once, "[4]", "5"},
				{once, "[4] [5] [5] [6] [1]", "5 seen,6,6 seen,7,1 seen"},
				{Condition{}, "[7] [7]", ""},
				{once, "[7] [8]", "8 seen,10"},
				{Condition{}, "[8]", ""},
				{once, "[8] [9]", "10 seen,12"},
			} {
				o := <-give(l, step.on, strings.Fields(step.entries)...)
				if got := strings.Join(places(o), ","); o.err != nil || got != step.want {
					t.Errorf("%s: %q, %v, want %q", step.entries, got, o.err, step.want)
				}
				for _, p := range o.Once {
					if p.Time < began || p.Time > time.Now().UnixMicro() {
						t.Errorf("%s: index %d was stored at %d", step.entries, p.Index, p.Time)
					}
				}
			}
			sameEntries(t, readAll(t, l), strings.Fields("[1] [2] [1] [3] [4] [5] [6] [7] [7] [8] [8] [9]"))
		})
	}
}

// TestExpect: an append is stored only if the head is the expected one when its turn comes, after
// everything given before it.
func TestExpect(t *testing.T) {
	t.Parallel()
	for name, config := range onceConfigs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := openLog(t, config)
			for _, step := range []struct {
				head  uint64
				first uint64 // 0 if it is refused
				now   uint64
			}{{1, 0, 0}, {0, 1, 1}, {0, 0, 1}, {1, 2, 2}, {9, 0, 2}, {2, 3, 3}} {
				o := <-give(l, expect(step.head), "[1]")
				var refused *ConditionError
				switch {
				case step.first > 0 && (o.err != nil || o.First != step.first || o.Time == 0):
					t.Errorf("with head %d: %+v, want index %d", step.head, o, step.first)
				case step.first == 0 && (!errors.As(o.err, &refused) || *refused != ConditionError{Head: step.now, Want: step.head}):
					t.Errorf("with head %d: %v, want it refused at head %d", step.head, o.err, step.now)
				}
			}
			// Given together, in one batch or more: each finds the head made by those before it.
			var all []<-chan outcome
			for i := range uint64(50) {
				all = append(all, give(l, expect(3+i), "[2]"), give(l, expect(3+i), "[3]"))
			}
			for i, ch := range all {
				o := <-ch
				if stored := o.err == nil; stored != (i%2 == 0) || stored && o.First != uint64(4+i/2) {
					t.Errorf("append %d: %+v", i, o)
				}
			}
		})
	}
}

// TestConditionsOnFailure: in a batch that is not stored, entries that were in the log before are
// still found, and nothing else is.
func TestConditionsOnFailure(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	mustAppend(t, l, "[1]")
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &faultyStore{store: l.store}
	swapStore(l, f)
	f.err = fmt.Errorf("%w: no space left", segment.ErrNotWritten)
	for range 2 {
		o := <-give(l, once, "[2]", "[1]", "[2]")
		if !errors.Is(o.err, ErrNotStored) || !reflect.DeepEqual(places(o), []string{"0", "1 seen", "0"}) {
			t.Errorf("places are %v, %v", places(o), o.err)
		}
	}
	if o := <-give(l, once, "[1]"); o.err != nil || places(o)[0] != "1 seen" {
		t.Errorf("only old entries: %v, %v", places(o), o.err)
	}
	if o := <-give(l, Condition{}, "[3]"); !errors.Is(o.err, ErrNotStored) {
		t.Error(o.err)
	}
	f.err = nil
	if o := <-give(l, once, "[3]", "[2]", "[2]"); o.err != nil || !reflect.DeepEqual(places(o), []string{"2", "3", "3 seen"}) {
		t.Errorf("once there is room: %v, %v", places(o), o.err)
	}
}

// sendOnce appends an entry until it is not refused, as it is while the log does not know which
// entries it holds because of a fault in a table.
func sendOnce(t *testing.T, l *Log, entry string) outcome {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := l.AwaitOnce(t.Context())
		if err == nil {
			o := <-give(l, once, entry)
			if err = o.err; err == nil {
				return o
			}
		}
		if !errors.Is(err, ErrNotStored) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// findAll looks up all entries that a log has.
func findAll(t *testing.T, l *Log, first map[string]uint64) {
	t.Helper()
	for entry, index := range first {
		if got := places(sendOnce(t, l, entry))[0]; got != fmt.Sprint(index, " seen") {
			t.Fatalf("%s is at %s, want %d", entry, got, index)
		}
	}
}

// TestLargeBatches: a batch that is larger than a map fills several maps, and a batch that is not
// stored leaves no entry in any of them.
func TestLargeBatches(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.tableRows = 5
	l := openLog(t, config)
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &faultyStore{store: l.store}
	swapStore(l, f)
	head := uint64(0)
	for _, n := range []int{3, 23, 1, 5, 4, 31} {
		entries := numbered(int(head)+1, n)
		f.err = fmt.Errorf("%w: no space left", segment.ErrNotWritten)
		if o := <-give(l, Condition{}, entries...); !errors.Is(o.err, ErrNotStored) {
			t.Fatal(o.err)
		}
		f.err = nil
		on := Condition{}
		if n%2 == 0 {
			on = once
		}
		if o := <-give(l, on, entries...); o.err != nil || o.First != head+1 {
			t.Fatalf("%d entries after %d: %+v", n, head, o)
		}
		head += uint64(n)
		first := map[string]uint64{}
		for i, e := range numbered(1, int(head)) {
			first[e] = uint64(i) + 1
		}
		findAll(t, l, first)
		if n := len(l.hashes.Load().recent.maps); n > hashMapsMax {
			t.Errorf("there are %d maps, want %d at most", n, hashMapsMax)
		}
	}
	swapStore(l, f.store)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	checkTables(t, lookupDir(config), numbered(1, int(head)))
}

// TestLookupRemoved: if something has removed the directory of the tables, the log still finds its
// entries, and rebuilds the tables.
func TestLookupRemoved(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.tableRows = 5
	first := map[string]uint64{}
	for round := range uint64(3) {
		l, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		findAll(t, l, first)
		for n := range uint64(40) {
			index := round*40 + n + 1
			entry := fmt.Sprintf("[%d]", index)
			if o := sendOnce(t, l, entry); o.First != index {
				t.Fatalf("%s: %+v", entry, o)
			}
			if first[entry] = index; n == 20 {
				for os.RemoveAll(lookupDir(config)) != nil { // while a table is added
				}
			}
		}
		findAll(t, l, first)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnceAtTheSameMoment: of many that append the same entries at the same moment, while others
// write without Once and the log is asked for the first time, one stores each.
func TestOnceAtTheSameMoment(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.tableRows = 50
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 100)...)
	var mu sync.Mutex
	at := map[string]uint64{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 300 {
				if err := l.AwaitOnce(t.Context()); err != nil {
					t.Error(err)
					return
				}
				entry := fmt.Sprintf(`{"n":%d}`, i)
				o := <-give(l, once, entry)
				if o.err != nil {
					t.Error(o.err)
					return
				}
				mu.Lock()
				if old, ok := at[entry]; ok && old != o.Once[0].Index {
					t.Errorf("%s is at %d and at %d", entry, old, o.Once[0].Index)
				}
				at[entry] = o.Once[0].Index
				mu.Unlock()
			}
		})
		all.Go(func() {
			for i := range 100 {
				if o := <-give(l, Condition{}, fmt.Sprintf(`{"n":%d}`, 250+i)); o.err != nil {
					t.Error(o.err)
				}
			}
		})
	}
	all.Wait()
	count := map[string]int{}
	for _, e := range readAll(t, l) {
		count[e]++
	}
	for i := range 250 {
		if entry := fmt.Sprintf(`{"n":%d}`, i); count[entry] != 1 {
			t.Errorf("%s is stored %d times", entry, count[entry])
		}
	}
}
