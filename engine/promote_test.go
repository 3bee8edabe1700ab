package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// TestPromote: a promoted log continues after its head in a new epoch; a log that is not a
// replica, is open or damaged is refused and left unchanged.
func TestPromote(t *testing.T) {
	t.Parallel()
	replica := func(t *testing.T) Config {
		c := replicaConfig(t, someStore)
		l, err := Open(c)
		if err == nil {
			err = errors.Join(l.Replicate(1, oneBatch), l.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain := func(t *testing.T) Config {
		c := testConfig(t)
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, "[1]", "[2]")
		l.Close()
		return c
	}
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T) Config
		spoil func(t *testing.T, c *Config)
		err   error
		says  string
		want  []uint64 // epochs afterwards
	}{
		{"a replica", replica, nil, nil, "", []uint64{1, 1, 2, 3}},
		{"a replica in a later epoch", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "EPOCH", "2 2\n3 3\n")
		}, nil, "", []uint64{1, 1, 2, 2, 3, 3, 4, 3}},
		{"a replica that has not reached an epoch that it knows", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "EPOCH", "2 2\n3 31\n")
		}, nil, "", []uint64{1, 1, 2, 2, 4, 3}},
		{"a replica whose source is in a later epoch", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "REPLICA", `{"source":"other:1","epoch":4}`)
		}, nil, "", []uint64{1, 1, 5, 3}},
		{"a replica that is fenced", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "FENCED", `{"epoch":6}`)
		}, nil, "", []uint64{1, 1, 7, 3}},
		{"a log that is fenced", plain, func(t *testing.T, c *Config) {
			mustWrite(t, c, "FENCED", `{"epoch":2}`)
		}, nil, "", []uint64{1, 1, 3, 3}},
		{"a promotion that a crash ended", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "EPOCH", "2 3\n")
		}, nil, "", []uint64{1, 1, 2, 3, 3, 3}},
		{"entries only in an archive", replica, func(t *testing.T, c *Config) {
			mustWrite(t, c, "ARCHIVE", `{"url":"file:///gone","instance":"1","through":0}`)
		}, nil, "", []uint64{1, 1, 2, 3}},
		{"no replica", plain, nil, ErrNotReplica, "is neither a replica nor fenced", nil},
		{"nothing", func(t *testing.T) Config { return testConfig(t) }, nil, os.ErrNotExist, "", nil},
		{"in memory", func(t *testing.T) Config { return NewConfig(Memory) }, nil, ErrNotReplica, "", nil},
		{"open", replica, func(t *testing.T, c *Config) { openLog(t, *c) }, ErrLocked, "", nil},
		{"another log's source", replica, func(t *testing.T, c *Config) { mustWrite(t, c, "REPLICA", "{}") }, ErrDamaged, "REPLICA", nil},
		{"damaged", replica, func(t *testing.T, c *Config) {
			path := filepath.Join(c.Data, "segments", segment.Name(1))
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[segment.HeaderSize+segment.BatchHeaderSize] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "tcp-log-server fsck", nil},
		{"EPOCH cannot be written", replica, func(t *testing.T, c *Config) {
			if err := os.Mkdir(filepath.Join(c.Data, "EPOCH.tmp"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "EPOCH.tmp", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.make(t)
			if tt.spoil != nil {
				tt.spoil(t, &c)
			}
			before := ""
			if fi, err := os.Stat(c.Data); err == nil && fi.IsDir() {
				before = tree(t, c.Data)
			}
			p, err := Promote(Config{Data: c.Data, SegmentSize: c.SegmentSize})
			if tt.want == nil {
				if err == nil || tt.err != nil && !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error is %v, want %v and %q", err, tt.err, tt.says)
				}
				if before != "" {
					if after := tree(t, c.Data); after != before {
						t.Errorf("it was changed:\n%s\nwas\n%s", after, before)
					}
				} else if _, err := os.Stat(c.Data); err == nil {
					t.Error("a directory was made")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if last := epochsOf(tt.want[len(tt.want)-2:]...)[0]; p.Epoch != last || p.Head != 2 {
				t.Errorf("the promotion is %+v, want epoch %+v", p, last)
			}
			_ = os.Remove(filepath.Join(c.Data, "ARCHIVE"))
			c.ReplicaOf = ""
			l := openLog(t, c)
			wantEpochs(t, l, tt.want...)
			if p.Store != l.Store() {
				t.Errorf("the store is %s, want %s", p.Store, l.Store())
			}
			mustAppend(t, l, "[3]")
			sameEntries(t, readAll(t, l), []string{"[1]", "[2]", "[3]"})
		})
	}
}

// TestPromoteSteps: wherever a promotion is interrupted, the directory is not an independent log
// in an epoch that another copy may have, and can be promoted again.
func TestPromoteSteps(t *testing.T) {
	t.Parallel()
	c := replicaConfig(t, someStore)
	l := openLog(t, c)
	if err := errors.Join(l.Replicate(1, oneBatch), l.Fence(2, "x")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	plain := c
	plain.ReplicaOf = ""
	for _, step := range []struct {
		done func() error
		want []uint64 // the epochs, if it is promoted now
	}{
		{func() error { return nil }, []uint64{1, 1, 3, 3}},
		{func() error { return segment.WriteEpochs(c.Data, epochsOf(1, 1, 3, 3)) }, []uint64{1, 1, 3, 3, 4, 3}},
		{func() error { return segment.RemoveFenced(c.Data) }, []uint64{1, 1, 3, 3, 4, 3}},
	} {
		if err := step.done(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(plain); err == nil || !strings.Contains(err.Error(), "is a replica of") {
			t.Errorf("a promotion was cut short, and the log is opened: %v", err)
		}
		now := testConfig(t)
		if err := os.CopyFS(now.Data, os.DirFS(c.Data)); err != nil {
			t.Fatal(err)
		}
		if _, err := Promote(now); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, now)
		wantEpochs(t, l, step.want...)
		mustAppend(t, l, "[3]")
		l.Close()
	}
}

func mustWrite(t testing.TB, c *Config, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.Data, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
