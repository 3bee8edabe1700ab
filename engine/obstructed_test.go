package engine

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// TestObstructed: an obstacle in the place of one blob, or of a shard directory, keeps
// only the entries of that place in their segments: they are settled without blobs and
// their segments are not removed; others are. A log starts with it, and says so.
func TestObstructed(t *testing.T) {
	t.Parallel()
	const n, in = 100, 68 // no entry before it is in its shard
	blob := func(dir string, i int) string {
		return filepath.Join(dir, "blobs", segment.BlobPath(segment.Sum([]byte(numbered(i, 1)[0]))))
	}
	for name, put := range map[string]func(dir string) error{
		"file for shard": func(dir string) error {
			return os.WriteFile(filepath.Dir(blob(dir, in)), []byte("x"), 0o600)
		},
		"dangling link for shard": func(dir string) error {
			return os.Symlink("nowhere", filepath.Dir(blob(dir, in)))
		},
		"directory for blob": func(dir string) error {
			return os.MkdirAll(blob(dir, in), 0o700)
		},
		"full directory for blob": func(dir string) error {
			return os.MkdirAll(filepath.Join(blob(dir, in), "more"), 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && name == "dangling link for shard" {
				t.Skip("links need rights")
			}
			config := testConfig(t)
			config.SegmentSize = 1024
			for round := range 2 {
				log := &events{}
				config.Logger = zerolog.New(log)
				config.LooseMax, config.RemoveAfter = 1000, time.Millisecond
				l, err := Open(config)
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if round == 0 {
					if err := put(config.Data); err != nil {
						t.Fatal(err)
					}
					for _, e := range numbered(1, n) { // one batch each
						mustAppend(t, l, e)
					}
				}
				settled(t, l)
				eventually(t, "the segments before it are removed", func() bool {
					s := l.Stats()
					return s.First > 1 && s.First <= in && s.Packed > 0
				})
				sameEntries(t, readAll(t, l), numbered(1, n))
				if said := log.have(`"event":"obstructed"`); !said && (round == 0 || name == "file for shard") {
					t.Errorf("round %d: the log does not say so: %s", round, &log.all)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if got := countBlobs(t, config); got < n/2 {
				t.Errorf("there are %d blobs, want those of the entries that can have one", got)
			}
		})
	}
}
