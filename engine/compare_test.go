package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIndexOfFork: the index of a copy of the log that went on by itself is refused, and
// nothing is changed.
func TestIndexOfFork(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	mustAppend(t, l, numbered(1, 10)...)
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fork := config
	fork.Data = filepath.Join(t.TempDir(), "fork")
	if err := os.CopyFS(fork.Data, os.DirFS(config.Data)); err != nil {
		t.Fatal(err)
	}
	for i, c := range []Config{config, fork} {
		l := openLog(t, c)
		mustAppend(t, l, numbered(100*(i+1), 5)...)
		settled(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mixed := config
	mixed.Data = filepath.Join(t.TempDir(), "mixed")
	if err := os.CopyFS(mixed.Data, os.DirFS(config.Data)); err != nil {
		t.Fatal(err)
	}
	const records = "wal/00000000000000000001"
	b, err := os.ReadFile(filepath.Join(fork.Data, records))
	if err == nil {
		err = os.WriteFile(filepath.Join(mixed.Data, records), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, mixed.Data)
	refuse(t, mixed, ErrDamaged, "the index of another copy of this log")
	if after := tree(t, mixed.Data); after != before {
		t.Errorf("the start changed the directory: %s, before %s", after, before)
	}
}
