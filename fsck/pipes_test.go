package fsck

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/engine"
)

// TestPipesInPlaceOfAnything puts a pipe, whose opening waits forever, in place of each
// file and directory of a log and of its copy: a check, repairs and the server come to an
// end, whatever they report.
func TestPipesInPlaceOfAnything(t *testing.T) {
	for _, place := range []string{"segments", "wal", "blobs", "segment", "wal/00000000000000000001", "shard", "blob", "LOCK", "wal/stray", "blobs/blob.tmp", "lost+found"} {
		t.Run(filepath.Base(place), func(t *testing.T) {
			t.Parallel()
			dir, whole := newStore(t, both), newStore(t, both)
			path := filepath.Join(dir, place)
			switch place {
			case "segment":
				path = segmentFiles(t, dir)[1]
			case "shard":
				path = filepath.Dir(blobOf(dir, 3))
			case "blob":
				path = blobOf(dir, 3)
			}
			must(t, os.RemoveAll(path))
			makePipe(t, path)
			ended := make(chan string, 1)
			go func() {
				defer close(ended)
				o := RepairOptions{Options: Options{Data: dir, OnProgress: func(Progress) {}}, LooseMax: engine.DefaultLooseMax}
				_, _ = Check(t.Context(), o.Options)
				ended <- "the check"
				o.Quick = true
				_, _ = Check(t.Context(), o.Options)
				ended <- "the quick check"
				if l, err := engine.Open(both.config(dir)); err == nil {
					l.Close()
				}
				ended <- "the daemon"
				other := o
				other.Data, other.From, other.Quick = whole, dir, false
				_, _ = Repair(t.Context(), other)
				ended <- "the repair from the copy"
				o.DryRun = true
				_, _ = Repair(t.Context(), o)
				ended <- "the dry run"
				o.DryRun, o.From = false, whole
				_, _ = Repair(t.Context(), o)
			}()
			last := "nothing"
			for deadline := time.After(20 * time.Second); ; {
				select {
				case what, more := <-ended:
					if !more {
						return
					}
					last = what
				case <-deadline:
					t.Fatalf("%s has ended, and what comes next hangs", last)
				}
			}
		})
	}
}
