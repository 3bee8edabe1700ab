package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// TestEpochs: of the files about a log's copies, a backup has only the epochs, as of its last run.
// A directory that continued in an epoch of its own, or is a replica, is not a backup.
func TestEpochs(t *testing.T) {
	dir, dest := tempDir(t), filepath.Join(tempDir(t), "dest")
	l := open(t, fast(dir))
	appendAll(t, l, &entries{}, 0, 2, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fatal(segment.WriteFenced(dir, segment.Fenced{Epoch: 9}))
	fatal(segment.WriteReplica(dir, segment.Replica{Source: "x:1"}))
	epochs := segment.FirstEpoch()
	for first := uint64(1); first < 4; first++ {
		backupTo(t, dir, dest)
		got, err := segment.ReadEpochs(dest)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(epochs) {
			t.Errorf("the backup's epochs are %s, %v, want %s", got, err, epochs)
		}
		for _, name := range []string{segment.ReplicaName, segment.FencedName} {
			if _, err := os.Lstat(filepath.Join(dest, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the backup has a file %s: %v", name, err)
			}
		}
		epochs, err = epochs.Begin(first, 0)
		fatal(err)
		fatal(segment.WriteEpochs(dir, epochs))
	}
	refused := func(says string) {
		t.Helper()
		_, err := Run(t.Context(), Config{Data: dir, Dest: dest})
		if !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), says) {
			t.Errorf("error is %v, want ErrOther and %q", err, says)
		}
	}
	other, err := segment.FirstEpoch().Begin(1, 7)
	fatal(err)
	fatal(segment.WriteEpochs(dest, other))
	refused("promoted without the other")
	fatal(segment.WriteEpochs(dest, epochs))
	fatal(segment.WriteReplica(dest, segment.Replica{Source: "x:1"}))
	refused("holds the file REPLICA")
}
