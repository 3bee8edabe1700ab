package backup

import (
	"path/filepath"
	"testing"
	"time"
)

// TestBesideLoad backs up a log that appends, seals, settles and removes as fast as it can, to new
// directories and to one that is updated each time. Each backup holds every entry acknowledged
// before it began.
func TestBesideLoad(t *testing.T) {
	t.Parallel()
	for name, loose := range map[string]int{"loose": -1, "packed": 2000} {
		t.Run(name, func(t *testing.T) {
			for left := rounds(t, 25); left > 0; left -= 8 {
				besideLoad(t, loose, min(left, 8))
			}
		})
	}
}

func besideLoad(t *testing.T, loose, rounds int) {
	dir, work := tempDir(t), tempDir(t)
	c := fast(dir)
	c.LooseMax = loose
	c.RemoveAfter = 5 * time.Millisecond
	l := open(t, c)
	e := &entries{}
	more, stop := load(t, l, e)
	grown := filepath.Join(work, "grown")
	for round := range rounds {
		dest := grown
		if round%4 == 3 {
			dest = filepath.Join(work, "new")
		}
		more()
		before := e.head()
		res := backupTo(t, dir, dest)
		if res.Head < before {
			t.Fatalf("head is %d, %d were acknowledged before", res.Head, before)
		}
		// Some entries of the backup were acknowledged a moment after it read them.
		x := cp(t, dest, filepath.Join(work, "x"))
		if head := readBack(t, x, e.first(min(e.head(), res.Head))); head != res.Head {
			t.Fatalf("round %d: head is %d, want %d", round, head, res.Head)
		}
	}
	stop()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
