//go:build unix

package backup

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// TestPipesInSource puts a pipe, which blocks forever when opened, in place of parts of the source:
// the backup ends, with an error if it needs the replaced part.
func TestPipesInSource(t *testing.T) {
	for _, place := range []string{"segments", "wal", "blobs", "segment", "wal/00000000000000000001", "shard"} {
		t.Run(filepath.Base(place), func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(tempDir(t), "data")
			l := open(t, fast(data))
			var e entries
			appendAll(t, l, &e, 0, 4, 5)
			settled(t, l, 1)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(data, place)
			switch place {
			case "segment":
				firsts, err := segment.List(filepath.Join(data, "segments"))
				if err != nil || len(firsts) == 0 {
					t.Fatal(firsts, err)
				}
				path = filepath.Join(data, "segments", segment.Name(firsts[0]))
			case "shard":
				shards, err := filepath.Glob(filepath.Join(data, "blobs", "[0-9a-f][0-9a-f]"))
				if err != nil || len(shards) == 0 {
					t.Fatal(shards, err)
				}
				path = shards[0]
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := Run(t.Context(), Config{Data: data, Dest: filepath.Join(tempDir(t), "copy")})
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the backup says nothing of it")
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the backup hangs")
			}
		})
	}
}
