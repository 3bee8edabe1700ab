package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// openSegment returns the path and the bytes of the last segment.
func openSegment(t testing.TB, config Config) (string, []byte) {
	t.Helper()
	dir := filepath.Join(config.Data, "segments")
	firsts, err := segment.List(dir)
	if err != nil || len(firsts) == 0 {
		t.Fatal(firsts, err)
	}
	path := filepath.Join(dir, segment.Name(firsts[len(firsts)-1]))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, b
}

func proved(t testing.TB, config Config) bool {
	t.Helper()
	path, b := openSegment(t, config)
	scan, err := segment.ScanBatches(bytes.NewReader(b), path, int64(len(b)), nil)
	return err == nil && scan.Proved
}

// TestProvedWhenIdle: the committer proves the last batch once the log is idle, however
// it was committed, and not before; and the log continues.
func TestProvedWhenIdle(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.SegmentSize = 1 << 20
	l := openLog(t, config)
	for round := range 3 {
		var last time.Time // when the last append began
		for range 20 {
			last = time.Now()
			mustAppend(t, l, `{"inline":1}`)
		}
		if early := proved(t, config); early && time.Since(last) < proveAfter {
			t.Errorf("round %d: proved before the log was idle", round)
		}
		eventually(t, "the last batch is proved", func() bool { return proved(t, config) })
		done := make(chan struct{})
		l.Submit([]byte("{}\n"), 1, Condition{}, func(Result, error) { close(done) })
		<-done
		eventually(t, "the last batch of the committer is proved", func() bool { return proved(t, config) })
		before, _ := os.Stat(l.store.(*disk).open.Path)
		time.Sleep(3 * proveAfter)
		if after, _ := os.Stat(l.store.(*disk).open.Path); !after.ModTime().Equal(before.ModTime()) {
			t.Error("an idle log goes on writing")
		}
	}
}

// slowProof is a store whose proof does not end until the test allows it.
type slowProof struct {
	store
	begun, end chan struct{}
	err        error
}

func (s *slowProof) prove() error {
	close(s.begun)
	<-s.end
	return s.err
}

// TestAppendDuringProof: an append that arrives while the last batch is being proved
// waits for the proof and is stored, and a proof whose sync fails ends appends like any
// sync.
func TestAppendDuringProof(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"fine": nil, "no room": segment.ErrNotWritten, "failed": segment.ErrSync} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Open(testConfig(t))
			if err != nil {
				t.Fatal(err)
			}
			s := &slowProof{l.store, make(chan struct{}), make(chan struct{}), fault}
			swapStore(l, s)
			<-s.begun
			got := submit(l, "{}")
			select {
			case r := <-got:
				t.Fatalf("stored meanwhile: %+v", r)
			case <-time.After(20 * time.Millisecond):
			}
			close(s.end)
			r := <-got
			if failed := errors.Is(r.err, ErrFailed); failed != (fault == segment.ErrSync) || !failed && r.err != nil {
				t.Errorf("append is %+v", r)
			}
			swapStore(l, s.store)
			if err := l.Close(); errors.Is(err, segment.ErrSync) != (fault == segment.ErrSync) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// TestAlteredLastBatch: a bit of the last acknowledged batch is altered after a crash,
// and the index does not have the batch yet: the start refuses, whether or not the log
// had been idle. A last batch with a missing sector is cut off, and a copy kept.
func TestAlteredLastBatch(t *testing.T) {
	t.Parallel()
	entry := `{"important":"` + strings.Repeat("payment ", 200) + `"}`
	for _, idle := range []bool{false, true} {
		config := testConfig(t)
		config.WAL, config.SegmentSize = Memory, 1<<20
		l, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, `{"first":1}`, entry)
		if idle {
			eventually(t, "the last batch is proved", func() bool { return proved(t, config) })
		}
		path, crashed := openSegment(t, config)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		put := func(b []byte) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		at := bytes.Index(crashed, []byte("important"))
		for _, off := range []int{at, at - segment.BatchHeaderSize + 5} {
			b := bytes.Clone(crashed)
			b[off] ^= 1
			put(b)
			before := tree(t, config.Data)
			if _, err := Open(config); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "indices from 2") || !strings.Contains(err.Error(), "fsck") {
				t.Errorf("idle %v, byte %d: the start says %v, want damage", idle, off-at, err)
			}
			if tree(t, config.Data) != before {
				t.Error("a refused store was changed")
			}
		}
		b := bytes.Clone(crashed)
		sector := (at/512 + 1) * 512
		clear(b[sector : sector+512])
		put(b)
		l, err = Open(config)
		if idle {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("a proved batch without a sector: %v, want damage", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if head, _ := l.Head(t.Context()); head != 1 {
			t.Errorf("head is %d, want 1", head)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		aside, _ := filepath.Glob(filepath.Join(config.Data, segment.LostFound, "segments-*"))
		if len(aside) != 1 {
			t.Fatalf("lost+found holds %v, want what was cut off", aside)
		}
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Contains(kept, []byte("important")) {
			t.Errorf("kept is %.100q, %v", kept, err)
		}
	}
}
