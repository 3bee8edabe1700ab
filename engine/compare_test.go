package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
)

// TestIndexOfFork: the index of a copy of the log that went its own way is refused, and nothing
// is changed.
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
	forked, err := os.ReadFile(filepath.Join(fork.Data, records))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(mixed.Data, records))
	if err == nil {
		err = os.WriteFile(filepath.Join(mixed.Data, records), forked, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, mixed.Data)
	refuse(t, mixed, ErrDamaged, "the index of another copy of this log")
	if after := tree(t, mixed.Data); after != before {
		t.Errorf("the start changed the directory: %s, before %s", after, before)
	}
	// Only the last record is right: the settler finds the others, and every entry can be read.
	stride := len(own) / 15
	at := len(own) - stride
	if err := os.WriteFile(filepath.Join(mixed.Data, records), append(forked[:at:at], own[at:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &events{}
	mixed.Logger = zerolog.New(log)
	if l, err = Open(mixed); err != nil { // openLog would check the index at the end
		t.Fatal(err)
	}
	defer l.Close()
	eventually(t, "the mismatch is logged", func() bool { return log.have(`"mismatch"`) })
	sameEntries(t, readAll(t, l), append(numbered(1, 10), numbered(100, 5)...))
	mustAppend(t, l, "{}")
}
