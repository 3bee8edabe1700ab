package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

var errKilled = errors.New("killed")

// killAt ends a run before its n-th change, counted from 0, and counts the changes.
type killAt struct {
	mu   sync.Mutex
	n    int
	seen []string
}

func (k *killAt) step(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n >= 0 && len(k.seen) >= k.n {
		return errKilled
	}
	k.seen = append(k.seen, name)
	return nil
}

// TestInterrupted ends a run before each of its changes, in every state of the destination that a
// backup can find. The destination is then the old log or the new one, and another run completes
// it.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	cannot := func(string, string) error { return errors.ErrUnsupported }
	keep, remove := time.Hour, time.Millisecond
	for i, test := range []struct {
		name          string
		before, after time.Duration // RemoveAfter until the earlier backup, and since
		loose         int
		from, more    int // rounds of 20 entries before and since; 0 in from: no earlier backup
		bridged       bool
		exchange      func(a, b string) error
	}{
		{"first", keep, keep, -1, 0, 20, false, nil},
		{"first, all loose", remove, remove, -1, 0, 20, false, nil},
		{"open segment grows", keep, keep, -1, 10, 1, false, nil},
		{"segments sealed", keep, keep, 0, 10, 10, false, nil},
		{"segments removed", keep, remove, -1, 10, 0, false, nil},
		{"segments removed that it has a part of", keep, remove, -1, 10, 20, true, nil},
		{"segments come and gone", remove, remove, -1, 10, 20, true, nil},
		{"no exchange of directories", keep, remove, -1, 10, 20, true, cannot},
		{"nothing new", keep, keep, -1, 10, 0, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, work := tempDir(t), tempDir(t)
			old := filepath.Join(work, "old")
			e := &entries{}
			c := fast(dir)
			c.LooseMax, c.RemoveAfter = test.loose, test.before
			if test.from > 0 {
				l := open(t, c)
				appendAll(t, l, e, 0, test.from, 20)
				waitFor(t, l, test.before, test.loose)
				l.Close()
				// Its last entries are not settled, so that the old index ends before the old segments do.
				backupTo(t, dir, old)
				cutIndex(t, old, uint64(test.from*20-5))
			} else if err := os.Mkdir(old, 0o700); err != nil {
				t.Fatal(err)
			}
			oldHead := e.head()
			c.RemoveAfter = test.after
			l := open(t, c)
			appendAll(t, l, e, test.from, test.more, 20)
			waitFor(t, l, test.after, test.loose)
			l.Close()

			all := &killAt{n: -1}
			dest := cp(t, old, filepath.Join(work, "whole"))
			if _, err := Run(t.Context(), Config{Data: dir, Dest: dest, step: all.step, exchange: test.exchange}); err != nil {
				t.Fatal(err)
			}
			mustHold(t, dest, e.first(e.head()))
			bridged := false
			times, total := make(map[string]int), make(map[string]int)
			for _, step := range all.seen {
				total[step]++
			}
			for n, step := range all.seen {
				bridged = bridged || step == "bridge commit"
				// Of many changes of one kind, test the first two and some others; in a short run the
				// first or the second.
				times[step]++
				if testing.Short() && times[step] != min(1+i%2, total[step]) || times[step] > 2 && times[step]%97 != 0 {
					continue
				}
				dest := cp(t, old, filepath.Join(work, "dest"))
				_, err := Run(t.Context(), Config{Data: dir, Dest: dest, step: (&killAt{n: n}).step, exchange: test.exchange})
				if !errors.Is(err, errKilled) {
					t.Fatalf("step %d, %s: error is %v", n, step, err)
				}
				if strings.HasSuffix(step, "between") {
					// At this moment there are no segments: the log is refused, and not opened as an empty
					// one.
					if l, err := openLog(engine.NewConfig(cp(t, dest, filepath.Join(work, "x")))); !errors.Is(err, engine.ErrDamaged) {
						t.Fatalf("step %d, %s: opened %v, %v", n, step, l, err)
					}
				} else {
					oldOrNew(t, fmt.Sprintf("step %d, %s", n, step), cp(t, dest, filepath.Join(work, "x")), oldHead, e)
				}
				if _, err := Run(t.Context(), Config{Data: dir, Dest: dest, exchange: test.exchange}); err != nil {
					t.Fatalf("after step %d, %s: %v", n, step, err)
				}
				if _, err := os.Lstat(filepath.Join(dest, "incoming")); err == nil {
					t.Errorf("after step %d, %s: incoming was left", n, step)
				}
				mustHold(t, dest, e.first(e.head()))
			}
			if bridged != test.bridged {
				t.Errorf("a bridge was built: %v, want %v; steps were %v", bridged, test.bridged, all.seen)
			}
		})
	}
}

// waitFor waits until the log is settled, and has removed the segments that it removes.
func waitFor(t *testing.T, l *engine.Log, removeAfter time.Duration, loose int) {
	keep := 1 << 20
	if removeAfter < time.Second && loose != 0 {
		keep = 0
	}
	settled(t, l, keep)
}

// cutIndex cuts the index of the log in dir back to its first n records.
func cutIndex(t *testing.T, dir string, n uint64) {
	t.Helper()
	path, _, off := segment.RecordPath(filepath.Join(dir, "wal"), n+1)
	if err := os.Truncate(path, off); err != nil {
		t.Fatal(err)
	}
}

// oldOrNew checks that the log in dest is the old one or the new one. If there was no old one, it
// must not count as a log that has lost entries.
func oldOrNew(t *testing.T, when, dest string, oldHead uint64, e *entries) {
	t.Helper()
	if l, err := openLog(engine.NewConfig(dest)); err != nil {
		if oldHead > 0 || !errors.Is(err, engine.ErrDamaged) {
			t.Fatalf("%s: %v", when, err)
		}
		return
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	head := readBack(t, dest, e.first(e.head()))
	if head != oldHead && head != e.head() {
		t.Fatalf("%s: head is %d, want %d or %d", when, head, oldHead, e.head())
	}
}
