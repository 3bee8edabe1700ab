package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// TestReplicaTorn: a crash in the middle of a write of several batches leaves some of them,
// from the first on; the replica continues after these.
func TestReplicaTorn(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := replicaConfig(t, someStore)
		c.SegmentSize = 1 << 20
		before := randomBatches(rnd, rnd.IntN(4))
		together := randomBatches(rnd, 2+rnd.IntN(20), before...)
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(before) > 0 {
			replicateAll(t, l, rnd, before)
		}
		path := filepath.Join(c.Data, "segments", segment.Name(1))
		head, _ := l.Head(t.Context())
		if err := l.Replicate(head+1, together); err != nil {
			t.Fatal(err)
		}
		crashed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		from := segmentEnd(t, crashed, len(before))
		// Some sectors of the write did not reach the disk.
		for s := from / 512; s*512 < int64(len(crashed)); s++ {
			if rnd.IntN(4) == 0 {
				clear(crashed[max(from, s*512):min((s+1)*512, int64(len(crashed)))])
			}
		}
		for _, dir := range []string{"wal", "blobs"} { // they may lag behind
			if err := os.RemoveAll(filepath.Join(c.Data, dir)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, crashed, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(c); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		head, _ = l.Head(t.Context())
		all := append(before, together...)
		n := 0
		for sum := uint64(0); sum < head; n++ {
			sum += uint64(all[n].Count)
		}
		if n < len(before) {
			t.Fatalf("seed %d: %d of %d durable batches are left", seed, n, len(before))
		}
		holds(t, l, entriesIn(all[:n]))
		if err := l.Replicate(head+1, all[n:]); n < len(all) && err != nil {
			t.Fatal(err)
		}
		holds(t, l, entriesIn(all))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		checkStore(t, c)
	}
}

// segmentEnd returns where the first n batches of a segment end.
func segmentEnd(t testing.TB, b []byte, n int) int64 {
	t.Helper()
	scan, err := segment.ScanBatches(bytes.NewReader(b), "x", int64(len(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n == len(scan.Rows) {
		return scan.End
	}
	return int64(scan.Rows[n].Offset)
}

// TestReplicaOnce: a replica that has been asked knows the entries from its source, and so
// does the log that it becomes.
func TestReplicaOnce(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		c := replicaConfig(t, someStore)
		c.tableRows = 16
		l := openLog(t, c)
		if err := l.AwaitOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		var batches []ReplicaBatch
		for i := range 20 {
			b := ReplicaBatch{Count: 5, Time: int64(1000 + i)}
			for k := range 5 {
				b.Entries = fmt.Appendf(b.Entries, "[%d]\n", 5*i+k)
			}
			if batches = append(batches, b); lost && i == 7 {
				batches = append(batches, ReplicaBatch{Count: 3, Time: int64(1000 + i), Lost: true})
			}
		}
		replicateAll(t, l, rand.New(rand.NewPCG(1, 1)), batches)
		l.Close()
		mustPromote(t, &c)
		l = openLog(t, c)
		if err := l.AwaitOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		head, _ := l.Head(context.Background())
		var run []byte
		for i := range 101 {
			run = fmt.Appendf(run, "[%d]\n", i)
		}
		done := make(chan Result, 1)
		l.Append(run, 101, Condition{Kind: appends.Once}, func(r Result, err error) {
			if err != nil {
				t.Error(err)
			}
			done <- r
		})
		r := <-done
		for i, p := range r.Once {
			want := Place{Index: uint64(i + 1), Seen: true, Time: int64(1000 + i/5)}
			if lost && i >= 40 {
				want.Index += 3
			}
			if i == 100 {
				want = Place{Index: head + 1, Time: r.Time}
			}
			if p != want {
				t.Errorf("place of entry %d is %+v, want %+v", i, p, want)
			}
		}
	}
}
