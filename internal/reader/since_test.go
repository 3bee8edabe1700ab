package reader_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/internal/reader"
)

// TestSince: the first entry of each time is found through the index, through the segments if there
// is no index, and through both if some entries are not settled.
func TestSince(t *testing.T) {
	for name, prepare := range map[string]func(dir string) reader.Config{
		"settled": func(dir string) reader.Config { return reader.Config{Data: dir} },
		"without an index": func(dir string) reader.Config {
			must(t, os.RemoveAll(filepath.Join(dir, "wal")))
			return reader.Config{Data: dir}
		},
		"an index in memory": func(dir string) reader.Config {
			must(t, os.RemoveAll(filepath.Join(dir, "wal")))
			return reader.Config{Data: dir, WAL: reader.Memory}
		},
		"half settled": func(dir string) reader.Config {
			must(t, os.Truncate(filepath.Join(dir, "wal", "00000000000000000001"), 49*entries/2))
			return reader.Config{Data: dir}
		},
		"a damaged record": func(dir string) reader.Config {
			edit(t, filepath.Join(dir, "wal", "00000000000000000001"), func(b []byte) []byte { b[49*99+8] ^= 1; return b })
			return reader.Config{Data: dir}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := reader.Open(prepare(build(t, 0, false)))
			must(t, err)
			first := make(map[int64]uint64) // the first entry of each time
			var all []int64
			must(t, l.Read(context.Background(), 1, entries, func(index uint64, _ []byte, time int64, err error) error {
				if err == nil && first[time] == 0 {
					first[time] = index
					all = append(all, time)
				}
				return err
			}))
			if len(all) < 3 {
				t.Fatalf("the log has only %d times", len(all))
			}
			since := func(at time.Time, want uint64) {
				t.Helper()
				if got, err := l.Since(context.Background(), at); got != want || err != nil {
					t.Errorf("since %v: %d, %v, want %d", at, got, err, want)
				}
			}
			since(time.Time{}, 1)
			for i, at := range all {
				since(time.UnixMicro(at), first[at])
				if i > 0 {
					since(time.UnixMicro(all[i-1]).Add(1), first[at])
				}
			}
			since(time.UnixMicro(all[len(all)-1]).Add(1), entries+1)
		})
	}
}
