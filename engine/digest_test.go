package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// digestOf computes a digest straight from its definition.
func digestOf(all []replicated) (d appends.Digest) {
	entries, times := blake3.New(), blake3.New()
	for _, e := range all {
		var hash segment.Hash
		if e.entry != "" {
			hash = segment.Sum([]byte(e.entry))
		}
		_, _ = entries.Write(hash[:])
		_, _ = times.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.time)))
	}
	entries.Sum(d.Entries[:0])
	times.Sum(d.Times[:0])
	return d
}

func digest(t testing.TB, l *Log, from, through uint64) appends.Digest {
	t.Helper()
	d, err := l.Digest(t.Context(), from, through)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fsckDigest is the digest of the closed store by fsck, which must find nothing wrong.
func fsckDigest(t testing.TB, c Config) string {
	t.Helper()
	sum, err := fsck.Check(t.Context(), fsck.Options{Data: c.Data, WAL: c.WAL, Blobs: c.Blobs, OnFinding: func(f fsck.Finding) {
		if f.Severity != fsck.Hint {
			t.Errorf("fsck: %s: %s: %s", f.Kind, f.File, f.Message)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return sum.Digest
}

// TestDigest: the digest of any range is that of its entries' hashes and times, however far the
// log is settled, and from index 1 it is that of fsck.
func TestDigest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"as usual":      func(*Config) {},
		"packed":        func(c *Config) { c.LooseMax = 0 },
		"removed":       func(c *Config) { c.LooseMax, c.RemoveAfter = -1, 0 },
		"never settled": func(c *Config) { c.SettleEvery = 1 << 60 },
		"without index": func(c *Config) { c.WAL = Memory },
		"in memory":     func(c *Config) { c.Data = Memory },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(7, 7))
			batches := randomBatches(rnd, 200)
			if name == "removed" { // needs a blob of every entry
				batches = slices.DeleteFunc(batches, func(b ReplicaBatch) bool { return b.Lost })
			}
			all := entriesIn(batches)
			c := replicaConfig(t, someStore)
			change(&c)
			l := openLog(t, c)
			check := func(what string) {
				t.Helper()
				for range 100 {
					from := 1 + rnd.IntN(len(all))
					through := from + rnd.IntN(len(all)-from+1)
					if got, want := digest(t, l, uint64(from), uint64(through)), digestOf(all[from-1:through]); got != want {
						t.Fatalf("%s: the digest of %d to %d is %x, want %x", what, from, through, got, want)
					}
				}
				if got, want := digest(t, l, 1, uint64(len(all))), digestOf(all); got != want {
					t.Fatalf("%s: the digest is %x, want %x", what, got, want)
				}
			}
			replicateAll(t, l, rnd, batches)
			check("at once")
			if c.Data == Memory {
				return
			}
			if c.WAL != Memory && c.SettleEvery < 1<<50 {
				settled(t, l)
				check("settled")
			}
			if name == "removed" {
				eventually(t, "segments removed", func() bool { return l.Stats().First > 1 })
				check("with segments removed")
			}
			l.Close()
			if got, want := fsckDigest(t, c), fmt.Sprintf("%x", digestOf(all).Entries); got != want {
				t.Errorf("fsck's digest is %s, want %s", got, want)
			}
			l = openLog(t, c)
			check("opened again")
		})
	}
}

// TestDigestErrors: unreadable and non-existent entries have no digest.
func TestDigestErrors(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.WAL = Memory
	l := openLog(t, c)
	mustAppend(t, l, numbered(1, 10)...)
	for _, r := range [][2]uint64{{0, 3}, {4, 3}, {1, 11}, {11, 11}} {
		if _, err := l.Digest(t.Context(), r[0], r[1]); err == nil || !strings.Contains(err.Error(), "the log has entries 1 to 10") {
			t.Errorf("digest of %d to %d: %v", r[0], r[1], err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Digest(canceled, 1, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}
	path := filepath.Join(c.Data, "segments", segment.Name(1))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte(nil), whole...)
	copy(b[strings.Index(string(b), `{"n":4}`):], `{"n":5}`)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Digest(t.Context(), 1, 10); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 4") {
		t.Errorf("with a damaged entry: %v, want ErrDamaged and entry 4", err)
	}
	digest(t, l, 5, 10)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDigestRecordDamaged: if a record cannot be used, the entry is.
func TestDigestRecordDamaged(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	l := openLog(t, c)
	mustAppend(t, l, numbered(1, 10)...)
	settled(t, l)
	want := digest(t, l, 1, 10)
	path, _, off := segment.RecordPath(filepath.Join(c.Data, "wal"), 4)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte(nil), whole...)
	b[off+20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := digest(t, l, 1, 10); got != want {
		t.Errorf("the digest is %x, want %x", got, want)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDigest(b *testing.B) {
	c := testConfig(b)
	c.SegmentSize, c.LooseMax = 64<<20, 0
	l := openLog(b, c)
	run := []byte(strings.Repeat("[1]\n", 4096))
	for range 16 {
		done := make(chan error, 1)
		l.Append(run, 4096, Condition{}, func(_ Result, err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	settled(b, l)
	for b.Loop() {
		digest(b, l, 1, 32768)
	}
}
