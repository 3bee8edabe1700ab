package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// TestOneEntryShort: a log that ends one entry before its index lacks an acknowledged
// entry.
func TestOneEntryShort(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.LooseMax = 0
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "[1]", "[2]")
	if r := <-submit(l, "[3]"); r.err != nil {
		t.Fatal(r.err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(config.Data, "segments", segment.Name(1))
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, fi.Size()-segment.BatchHeaderSize-int64(len("[3]\n"))); err != nil {
		t.Fatal(err)
	}
	refuse(t, config, ErrDamaged, "the index has records through 3, the segments end at 2")
}

// TestIndexFailure: while records cannot be written the mark does not move, and nothing
// counts as settled. Later records match the entries.
func TestIndexFailure(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.LooseMax, config.SegmentSize = 0, 64<<20
	logged := &events{}
	config.Logger = config.Logger.Output(logged)
	l := openLog(t, config)
	// The next records need another file of the index, and its directory is away.
	const before = segment.RecordsPerFile - 10
	if r := <-submit(l, numbered(1, before)...); r.err != nil {
		t.Fatal(r.err)
	}
	settled(t, l)
	wal := filepath.Join(config.Data, "wal")
	if err := errors.Join(os.Rename(wal, wal+".away"), os.WriteFile(wal, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if r := <-submit(l, numbered(before+1, 100)...); r.err != nil {
		t.Fatal(r.err)
	}
	eventually(t, "the settler to fail", func() bool { return logged.have(`"event":"settle"`) || l.Stats().Settled > before })
	if s := l.Stats(); s.Settled != before {
		t.Errorf("settled through %d, and the index ends at %d", s.Settled, before)
	}
	if err := errors.Join(os.Remove(wal), os.Rename(wal+".away", wal)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	settled(t, l) // after a second, and what is in the index then is checked at the end
	t.Logf("settled %v after there was a directory again", time.Since(began))
}
