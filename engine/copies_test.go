package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// mustPromote makes the closed replica of c an independent log, and c its config.
func mustPromote(t testing.TB, c *Config) {
	t.Helper()
	if _, err := Promote(*c); err != nil {
		t.Fatal(err)
	}
	c.ReplicaOf, c.Store = "", segment.StoreID{}
}

func epochsOf(pairs ...uint64) (epochs []appends.Epoch) {
	for i := 0; i < len(pairs); i += 2 {
		epochs = append(epochs, appends.Epoch{Number: pairs[i], First: pairs[i+1]})
	}
	return epochs
}

// wantEpochs checks the epochs of a log.
func wantEpochs(t testing.TB, l *Log, pairs ...uint64) {
	t.Helper()
	if got, want := fmt.Sprint(l.Epochs()), fmt.Sprint(epochsOf(pairs...)); got != want {
		t.Errorf("the epochs are %s, want %s", got, want)
	}
}

var oneBatch = []ReplicaBatch{{Entries: []byte("[1]\n[2]\n"), Count: 2, Time: 1}}

// TestReplicaStaysOne: a log that was opened as a replica stays one until it is promoted; then it
// continues in the next epoch.
func TestReplicaStaysOne(t *testing.T) {
	t.Parallel()
	c := replicaConfig(t, someStore)
	l := openLog(t, c)
	wantEpochs(t, l, 1, 1)
	if err := l.Replicate(1, oneBatch); err != nil {
		t.Fatal(err)
	}
	if r := <-submit(l, "[3]"); !errors.Is(r.err, ErrReplica) || !strings.Contains(r.err.Error(), "elsewhere:7777") {
		t.Errorf("append to a replica: %v, want ErrReplica and the source", r.err)
	}
	if err := l.Refusing(); err != nil {
		t.Errorf("a replica is refusing: %v", err)
	}
	l.Close()
	plain := c
	plain.ReplicaOf = ""
	before := tree(t, c.Data)
	want := c.Data + " is a replica of elsewhere:7777: run it with `tcp-log-server replica`, or make it an independent log by `tcp-log-server promote "
	if _, err := Open(plain); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("opened as an independent log: %v, want %q", err, want)
	}
	if after := tree(t, c.Data); after != before {
		t.Errorf("it was changed:\n%s\nwas\n%s", after, before)
	}
	c.ReplicaOf = "other:1"
	openLog(t, c).Close()
	if r, err := segment.ReadReplica(c.Data); err != nil || r.Source != "other:1" {
		t.Errorf("REPLICA says %+v, %v, want the source as it was named last", r, err)
	}
	mustPromote(t, &c)
	l = openLog(t, c)
	wantEpochs(t, l, 1, 1, 2, 3)
	mustAppend(t, l, "[3]")
	sameEntries(t, readAll(t, l), []string{"[1]", "[2]", "[3]"})
	if _, err := Promote(c); !errors.Is(err, ErrLocked) && !errors.Is(err, ErrNotReplica) {
		t.Errorf("a log that is open was promoted: %v", err)
	}
}

// TestFence: a fenced log can be read, and takes no appends, also after a restart; this does not
// count as a disk failure.
func TestFence(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	l := openLog(t, c)
	mustAppend(t, l, "[1]", "[2]")
	if err := l.Fence(1, "x"); err == nil {
		t.Error("a log in epoch 1 was fenced for epoch 1")
	}
	if err := l.Fence(math.MaxInt64, "x"); err == nil {
		t.Error("a log was fenced for an epoch after which there is none")
	}
	if epoch, _ := l.Fenced(); epoch != 0 {
		t.Errorf("the log is fenced for epoch %d", epoch)
	}
	fenced := func(l *Log, epoch uint64, by string) {
		t.Helper()
		if got, who := l.Fenced(); got != epoch || who != by {
			t.Errorf("fenced for epoch %d by %q, want %d by %q", got, who, epoch, by)
		}
		r := <-submit(l, "[3]")
		want := fmt.Sprintf("not stored: fenced: a replica of this log was promoted, says %s; the log goes on there, in epoch %d", by, epoch)
		if !errors.Is(r.err, ErrNotStored) || !errors.Is(r.err, ErrFenced) || r.err.Error() != want {
			t.Errorf("append: %v, want %q", r.err, want)
		}
		if err := l.Refusing(); !errors.Is(err, ErrFenced) {
			t.Errorf("refusing is %v, want ErrFenced", err)
		}
		select {
		case <-l.Failed():
			t.Error("the log has failed")
		default:
		}
		sameEntries(t, readAll(t, l), []string{"[1]", "[2]"})
	}
	for range 2 {
		if err := l.Fence(2, "b at 10.0.0.2"); err != nil {
			t.Fatal(err)
		}
		fenced(l, 2, "b at 10.0.0.2")
	}
	l.Close()
	var logged bytes.Buffer
	said := c
	said.Logger = zerolog.New(&logged)
	l = openLog(t, said)
	if !strings.Contains(logged.String(), `"event":"fenced"`) {
		t.Errorf("a start on a fenced log logs %s", logged.String())
	}
	fenced(l, 2, "b at 10.0.0.2")
	if err := l.Fence(4, "c"); err != nil {
		t.Fatal(err)
	}
	fenced(l, 4, "c")
	if err := l.Fence(3, "b"); err != nil {
		t.Fatal(err)
	}
	fenced(l, 4, "c")
	// As an independent log again it is in an epoch that the others do not know.
	l.Close()
	mustPromote(t, &c)
	l = openLog(t, c)
	wantEpochs(t, l, 1, 1, 5, 3)
	mustAppend(t, l, "[3]")
}

// TestFenceUnwritten: a fence that cannot be written holds until the next start, and is written
// when it is reported again.
func TestFenceUnwritten(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	l := openLog(t, c)
	obstacle := filepath.Join(c.Data, segment.FencedName+".tmp")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Fence(2, "x"); err == nil {
		t.Error("a fence that could not be written is no error")
	}
	if r := <-submit(l, "[1]"); !errors.Is(r.err, ErrFenced) {
		t.Errorf("append: %v, want ErrFenced", r.err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := l.Fence(2, "x"); err != nil {
		t.Error(err)
	}
	if f, err := segment.ReadFenced(c.Data); err != nil || f.Epoch != 2 {
		t.Errorf("FENCED says %+v, %v", f, err)
	}
}

// TestSetEpochs: a replica follows its source into a later epoch if it has nothing that the source
// lacks, so a fenced log can become a replica of the one that continues.
func TestSetEpochs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fence  uint64
		epochs [][]uint64 // one after the other
		says   string     // of the last one's error
		want   []uint64
	}{
		{"the first", 0, [][]uint64{{1, 1}}, "", []uint64{1, 1}},
		{"a later one", 0, [][]uint64{{1, 1, 2, 3}}, "", []uint64{1, 1, 2, 3}},
		{"a later one, far ahead", 0, [][]uint64{{1, 1, 2, 100}}, "", []uint64{1, 1, 2, 100}},
		{"two steps", 0, [][]uint64{{1, 1, 2, 3}, {1, 1, 2, 3, 4, 3}}, "", []uint64{1, 1, 2, 3, 4, 3}},
		{"began before the head", 0, [][]uint64{{1, 1, 2, 2}}, "entries 2 to 2 of the replica are not in the source's log: epoch 2 began at 2 there", []uint64{1, 1}},
		{"a later one began before the head", 0, [][]uint64{{1, 1, 2, 1, 3, 9}}, "entries 1 to 2 of the replica are not", []uint64{1, 1}},
		{"fewer than before", 0, [][]uint64{{1, 1, 2, 3}, {1, 1}}, "the epochs of the source are [[1,1]], those of the replica [[1,1],[2,3]]", []uint64{1, 1, 2, 3}},
		{"others than before", 0, [][]uint64{{1, 1, 2, 3}, {1, 1, 2, 4, 3, 9}}, "promoted without the other", []uint64{1, 1, 2, 3}},
		{"none of any log", 0, [][]uint64{{1, 1, 2, 9, 3, 8}}, "epoch 3 from entry 8 follows epoch 2 from entry 9", []uint64{1, 1}},
		{"fenced", 2, [][]uint64{{1, 1, 2, 3}}, "", []uint64{1, 1, 2, 3}},
		{"fenced for an earlier one", 2, [][]uint64{{1, 1, 2, 3, 3, 7}}, "", []uint64{1, 1, 2, 3, 3, 7}},
		{"fenced for a later one", 3, [][]uint64{{1, 1, 2, 3}}, "in epoch 3; the source is in epoch 2", []uint64{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := replicaConfig(t, someStore)
			l := openLog(t, c)
			if err := l.Replicate(1, oneBatch); err != nil {
				t.Fatal(err)
			}
			if tt.fence > 0 {
				if err := l.Fence(tt.fence, "x"); err != nil {
					t.Fatal(err)
				}
				if err := l.Replicate(3, oneBatch); !errors.Is(err, ErrNotStored) || !errors.Is(err, ErrFenced) {
					t.Errorf("replicate to a fenced log: %v, want ErrFenced", err)
				}
			}
			var err error
			for _, pairs := range tt.epochs {
				if err != nil {
					t.Fatal(err)
				}
				err = l.SetEpochs(epochsOf(pairs...))
			}
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error is %v, want %q", err, tt.says)
			}
			for range 2 {
				wantEpochs(t, l, tt.want...)
				if epoch, _ := l.Fenced(); (epoch > 0) != (tt.fence > 0 && err != nil) {
					t.Errorf("it is fenced for epoch %d", epoch)
				}
				l.Close()
				l = openLog(t, c)
			}
			if rerr := l.Replicate(3, oneBatch); (rerr == nil) != (err == nil || tt.fence == 0) {
				t.Errorf("replicate afterwards: %v", rerr)
			}
		})
	}
	plain := openLog(t, testConfig(t))
	if err := plain.SetEpochs(epochsOf(1, 1, 2, 3)); err == nil {
		t.Error("an independent log took over epochs")
	}
}

// TestSourceEpoch: a replica that is promoted before it has reached its source's epoch begins a
// later one, whatever its source's address.
func TestSourceEpoch(t *testing.T) {
	t.Parallel()
	c := replicaConfig(t, someStore)
	for _, address := range []string{"a:1", "b:1"} {
		c.ReplicaOf = address
		l := openLog(t, c)
		for _, number := range []uint64{1, 4, 3} {
			if err := l.SourceEpoch(number); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		if r, err := segment.ReadReplica(c.Data); err != nil || r != (segment.Replica{Source: address, Epoch: 4}) {
			t.Errorf("REPLICA says %+v, %v", r, err)
		}
	}
	mustPromote(t, &c)
	l := openLog(t, c)
	wantEpochs(t, l, 1, 1, 5, 1)
	if err := l.SourceEpoch(9); err == nil {
		t.Error("an independent log has a source")
	}
}

// TestMarkersDamaged: a log whose marker files are damaged is not opened.
func TestMarkersDamaged(t *testing.T) {
	t.Parallel()
	for _, name := range []string{segment.EpochName, segment.ReplicaName, segment.FencedName} {
		c := testConfig(t)
		l := openLog(t, c)
		mustAppend(t, l, "[1]")
		l.Close()
		path := filepath.Join(c.Data, name)
		if err := os.WriteFile(path, []byte("?\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(c); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "fsck") {
			t.Errorf("%s is damaged: %v, want ErrDamaged with its path", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
