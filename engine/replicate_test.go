package engine

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// replicaConfig is testConfig for a replica of the log of this store.
func replicaConfig(t testing.TB, store segment.StoreID) Config {
	c := testConfig(t)
	c.Store, c.ReplicaOf = store, "elsewhere:7777"
	return c
}

var someStore = segment.StoreID([]byte("a-store-of-tests"))

// randomBatches returns n batches after those before, some of them lost, some larger than a
// small segment.
func randomBatches(rnd *rand.Rand, n int, before ...ReplicaBatch) (batches []ReplicaBatch) {
	at := int64(1750000000000000)
	if n := len(before); n > 0 {
		at = before[n-1].Time
	}
	for i := range n {
		b := ReplicaBatch{Count: 1 + rnd.IntN(5), Time: at}
		at += rnd.Int64N(3)
		if b.Lost = rnd.IntN(10) == 0; !b.Lost {
			long := rnd.IntN(40)
			if rnd.IntN(20) == 0 {
				long = 6000
			}
			for k := range b.Count {
				b.Entries = fmt.Appendf(b.Entries, `{"batch":%d,"n":%d,"x":"%s"}`+"\n", i, k, strings.Repeat("x", rnd.IntN(long+1)))
			}
		}
		batches = append(batches, b)
	}
	return batches
}

// replicated is an entry, nil if it is lost, and its time.
type replicated struct {
	entry string
	time  int64
}

func entriesIn(batches []ReplicaBatch) (all []replicated) {
	for _, b := range batches {
		lines := strings.Split(string(b.Entries), "\n")
		for k := range b.Count {
			e := replicated{time: b.Time}
			if !b.Lost {
				e.entry = lines[k]
			}
			all = append(all, e)
		}
	}
	return all
}

// holds checks that the log has these entries, at their times.
func holds(t testing.TB, l *Log, want []replicated) {
	t.Helper()
	var got []replicated
	err := l.Read(t.Context(), 1, math.MaxUint64, func(first uint64, count int, entries []byte, time int64, err error) error {
		if err != nil && !errors.Is(err, ErrLost) {
			t.Errorf("entry %d: %v", first, err)
		}
		b := ReplicaBatch{Entries: entries, Count: count, Time: time, Lost: err != nil}
		got = append(got, entriesIn([]ReplicaBatch{b})...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("entry %d is %.60q from %d µs, want %.60q from %d µs", i+1, got[i].entry, got[i].time, want[i].entry, want[i].time)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("there are %d entries, want %d", len(got), len(want))
	}
}

// replicateAll gives batches to the log in runs of varying length.
func replicateAll(t testing.TB, l *Log, rnd *rand.Rand, batches []ReplicaBatch) {
	t.Helper()
	for len(batches) > 0 {
		n := min(len(batches), 1+rnd.IntN(30))
		head, _ := l.Head(t.Context())
		if err := l.Replicate(head+1, batches[:n]); err != nil {
			t.Fatal(err)
		}
		batches = batches[n:]
	}
}

// TestReplicate: a replica has its source's entries, times and losses, also after a restart,
// whatever the runs in which they arrived, and an undamaged store with the source's id.
func TestReplicate(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"as usual":      func(*Config) {},
		"packed":        func(c *Config) { c.LooseMax = 0 },
		"without index": func(c *Config) { c.WAL = Memory },
		"in memory":     func(c *Config) { c.Data = Memory },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				rnd := rand.New(rand.NewPCG(seed, 0))
				batches := randomBatches(rnd, 150)
				c := replicaConfig(t, someStore)
				change(&c)
				l := openLog(t, c)
				replicateAll(t, l, rnd, batches)
				holds(t, l, entriesIn(batches))
				if l.Store() != someStore.String() {
					t.Errorf("the log's name is %s, want %s", l.Store(), someStore)
				}
				if c.Data == Memory {
					continue
				}
				if l.Stats().Segments < 3 {
					t.Errorf("there are %d segments, want several", l.Stats().Segments)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				more := randomBatches(rnd, 20, batches...)
				l = openLog(t, c)
				replicateAll(t, l, rnd, more)
				holds(t, l, entriesIn(append(batches, more...)))
			}
		})
	}
}

// TestReplicateOneSync: batches that fit into the open segment take one write and count as
// one batch, and followers see them all.
func TestReplicateOneSync(t *testing.T) {
	t.Parallel()
	var told []int
	c := replicaConfig(t, someStore)
	c.SegmentSize = 1 << 20
	c.OnBatch = func(entries, bytes int, _ time.Duration) { told = append(told, entries, bytes) }
	l := openLog(t, c)
	_, moved := l.Acked()
	batches := []ReplicaBatch{
		{Entries: []byte("[1]\n[2]\n"), Count: 2, Time: 5},
		{Count: 7, Time: 6, Lost: true},
		{Entries: []byte("null\n"), Count: 1, Time: 7},
	}
	if err := l.Replicate(1, batches); err != nil {
		t.Fatal(err)
	}
	select {
	case <-moved:
	default:
		t.Error("followers have not been told")
	}
	if head, _ := l.Acked(); head != 10 {
		t.Errorf("the head is %d, want 10", head)
	}
	if s := l.Stats(); s.Batches != 1 || s.Entries != 10 || s.Written != 13 || fmt.Sprint(told) != "[10 13]" {
		t.Errorf("stats are %+v, OnBatch was told %v", s, told)
	}
}

// TestReplicateTimes: times are the source's, even if they go back; entries that the log
// appends itself, once it is no longer a replica, are not earlier than its last entry.
func TestReplicateTimes(t *testing.T) {
	t.Parallel()
	c := replicaConfig(t, someStore)
	batch := func(at int64) ReplicaBatch { return ReplicaBatch{Entries: []byte("[1]\n"), Count: 1, Time: at} }
	later := time.Now().Add(time.Hour).UnixMicro()
	batches := []ReplicaBatch{batch(1000), batch(later), batch(0), batch(later)}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Replicate(1, batches); err != nil {
		t.Fatal(err)
	}
	holds(t, l, entriesIn(batches))
	l.Close()
	mustPromote(t, &c)
	if l, err = Open(c); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustAppend(t, l, "[1]")
	holds(t, l, entriesIn(append(batches, batch(later))))
}

// TestReplicateRefuses: batches that could not be read back are not stored, nor are their
// neighbours.
func TestReplicateRefuses(t *testing.T) {
	t.Parallel()
	good := ReplicaBatch{Entries: []byte("[1]\n"), Count: 1, Time: 1}
	batch := func(count int, entries string) ReplicaBatch {
		return ReplicaBatch{Entries: []byte(entries), Count: count, Time: 1}
	}
	for _, tt := range []struct {
		name  string
		first uint64
		batch ReplicaBatch
		says  string
	}{
		{"not the next index", 3, good, "index of the log is 2, but the batches begin at 3"},
		{"an index again", 1, good, "index of the log is 2, but the batches begin at 1"},
		{"no entries", 2, batch(0, ""), "0 entries"},
		{"entries without bytes", 2, batch(1, ""), "a batch has 0 entries, its count is 1"},
		{"too few entries", 2, batch(3, "[1]\n[2]\n"), "a batch has 2 entries, its count is 3"},
		{"too many entries", 2, batch(1, "[1]\n[2]\n"), "a batch has 2 entries, its count is 1"},
		{"no last newline", 2, batch(2, "[1]\n[2]"), "does not end with a newline"},
		{"an empty line", 2, batch(2, "[1]\n\n"), "entry 2 of a batch, of 0 bytes"},
		{"a number", 2, batch(1, "12\n"), "no object, array or null"},
		{"half an object", 2, batch(1, "{\"a\":1\n"), "no object, array or null"},
		{"a carriage return", 2, batch(1, "[1]\r\n"), "no object, array or null"},
		{"a zero byte", 2, batch(1, "[\"\x00\"]\n"), "zero byte"},
		{"lost entries with bytes", 2, ReplicaBatch{Entries: []byte("[1]\n"), Count: 1, Lost: true}, "want none"},
		{"more entries than a batch may have", 2, ReplicaBatch{Count: 1 << 32, Lost: true}, "4294967296 entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := openLog(t, replicaConfig(t, someStore))
			if err := l.Replicate(1, []ReplicaBatch{good}); err != nil {
				t.Fatal(err)
			}
			err := l.Replicate(tt.first, []ReplicaBatch{good, tt.batch})
			if !errors.Is(err, ErrNotStored) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want ErrNotStored and %q", err, tt.says)
			}
			holds(t, l, entriesIn([]ReplicaBatch{good}))
			if err := l.Replicate(2, []ReplicaBatch{good}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestReplicaTakesNoAppends, and a log that is not a replica takes no entries of a source.
func TestReplicaTakesNoAppends(t *testing.T) {
	t.Parallel()
	l := openLog(t, replicaConfig(t, someStore))
	if r := <-submit(l, "[1]"); !errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, ErrReplica) {
		t.Errorf("append to a replica: %v, want ErrNotStored and ErrReplica", r.err)
	}
	if r := <-submit(l); r.err != nil {
		t.Errorf("append of nothing to a replica: %v", r.err)
	}
	plain := openLog(t, testConfig(t))
	mustAppend(t, plain, "[1]")
	if err := plain.Replicate(2, []ReplicaBatch{{Entries: []byte("[1]\n"), Count: 1}}); !errors.Is(err, ErrNotStored) {
		t.Errorf("replicate to a log that is no replica: %v, want ErrNotStored", err)
	}
	sameEntries(t, readAll(t, plain), []string{"[1]"})
	plain.Close()
	if err := plain.Replicate(2, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("replicate to a closed log: %v, want ErrClosed", err)
	}
}

// TestStore: an empty log takes the id in Config, and no other log is accepted in its place.
func TestStore(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.Store = someStore
	l := openLog(t, c)
	mustAppend(t, l, "[1]")
	l.Close()
	before := tree(t, c.Data)
	other := c
	other.Store[0]++
	_, err := Open(other)
	if want := fmt.Sprintf("%s belongs to store %s, want %s", c.Data, someStore, other.Store); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("opened as another store: %v, want %q", err, want)
	}
	if after := tree(t, c.Data); after != before {
		t.Errorf("it was changed:\n%s\nwas\n%s", after, before)
	}
	c.Store = segment.StoreID{}
	if l = openLog(t, c); l.Store() != someStore.String() {
		t.Errorf("the log's name is %s, want %s", l.Store(), someStore)
	}
}

// TestReplicateFails: of batches that need two segments the first ones are stored if the
// second segment cannot be begun, the head says so, and the others can be given again.
func TestReplicateFails(t *testing.T) {
	t.Parallel()
	l := openLog(t, replicaConfig(t, someStore))
	batches := randomBatches(rand.New(rand.NewPCG(1, 1)), 100)
	create := l.disk.create
	errFull := errors.New("no room")
	l.disk.create = func(string, segment.Header, int64) (*segment.Writer, error) {
		return nil, errFull
	}
	err := l.Replicate(1, batches)
	if !errors.Is(err, ErrNotStored) || !errors.Is(err, errFull) {
		t.Fatalf("error is %v, want ErrNotStored and its cause", err)
	}
	head, _ := l.Acked()
	stored := 0
	for n := uint64(0); n < head; stored++ {
		n += uint64(batches[stored].Count)
	}
	if stored == 0 || stored == len(batches) {
		t.Fatalf("%d of %d batches were stored", stored, len(batches))
	}
	holds(t, l, entriesIn(batches[:stored]))
	l.disk.create = create
	if err := l.Replicate(head+1, batches[stored:]); err != nil {
		t.Fatal(err)
	}
	holds(t, l, entriesIn(batches))
}
