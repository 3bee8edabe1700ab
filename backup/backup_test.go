package backup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
	"tcp-log-server/segment"
)

// TestBackup: a backup of a running or stopped log, packed, loose or both, is a log with the same
// entries.
func TestBackup(t *testing.T) {
	for name, loose := range map[string]int{"loose": -1, "packed": 0, "both": 300} {
		for _, copies := range []bool{false, true} {
			if copies {
				name += ", copies"
			}
			t.Run(name, func(t *testing.T) {
				dir, dest := tempDir(t), filepath.Join(tempDir(t), "new", "dest")
				c := fast(dir)
				c.LooseMax = loose
				l := open(t, c)
				e := &entries{}
				appendAll(t, l, e, 0, 20, 30)
				if loose == -1 {
					settled(t, l, 0)
				}
				config := Config{Data: dir, Dest: dest, Copy: copies}
				res, err := Run(t.Context(), config)
				if err != nil {
					t.Fatal(err)
				}
				if res.Head != 600 || res.Before != 0 || copies && res.Linked != 0 {
					t.Errorf("result is %+v", res)
				}
				if !copies && res.Linked == 0 {
					t.Errorf("nothing was linked: %+v", res)
				}
				mustHold(t, cp(t, dest, filepath.Join(tempDir(t), "x")), e.first(600))
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				config.Dest += "2"
				if _, err := Run(t.Context(), config); err != nil {
					t.Fatal(err)
				}
				mustHold(t, config.Dest, e.first(600))
			})
		}
	}
}

// TestBackupApart: the directories of the log are in different places.
func TestBackupApart(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	c := fast(filepath.Join(dir, "data"))
	c.WAL, c.Blobs = filepath.Join(dir, "index"), filepath.Join(dir, "json")
	l := open(t, c)
	e := &entries{}
	appendAll(t, l, e, 0, 20, 30)
	settled(t, l, 0)
	if _, err := Run(t.Context(), Config{Data: c.Data, WAL: c.WAL, Blobs: c.Blobs, Dest: dest}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	mustHold(t, dest, e.first(600))
}

// TestWithoutIndex: a log that keeps index and blobs in memory.
func TestWithoutIndex(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	c := fast(dir)
	c.Blobs = engine.Memory
	l := open(t, c)
	e := &entries{}
	appendAll(t, l, e, 0, 20, 30)
	if _, err := Run(t.Context(), Config{Data: dir, Blobs: Memory, Dest: dest}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	mustHold(t, dest, e.first(600))
}

// TestEmpty: a log without entries has a backup too.
func TestEmpty(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	l := open(t, fast(dir))
	backupTo(t, dir, dest)
	e := &entries{}
	appendAll(t, l, e, 0, 1, 3)
	backupTo(t, dir, dest)
	l.Close()
	mustHold(t, dest, e.first(3))
}

// TestIncremental: existing entries stay unchanged in the backup, whatever has happened to them in
// the log since.
func TestIncremental(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	c := fast(dir)
	c.LooseMax = 0
	l := open(t, c)
	defer l.Close()
	e := &entries{}
	appendAll(t, l, e, 0, 20, 30)
	settled(t, l, 1000)
	first := backupTo(t, dir, dest)
	files := inodes(t, dest)
	appendAll(t, l, e, 20, 2, 30)
	settled(t, l, 1000)
	second := backupTo(t, dir, dest)
	if second.Before != first.Head || second.Head != 660 || second.Kept == 0 || second.Segments > 4 || second.Segments >= first.Segments {
		t.Errorf("first was %+v, second %+v", first, second)
	}
	same := 0
	for name, inode := range inodes(t, dest) {
		if strings.HasSuffix(name, segment.Suffix) && files[name] != nil && os.SameFile(files[name], inode) {
			same++
		}
	}
	if same < first.Segments-1 {
		t.Errorf("%d of %d segments are the same files", same, first.Segments)
	}
	third := backupTo(t, dir, dest)
	if third.Head != 660 || third.Segments != 0 || third.Blobs != 0 || third.Copied != 0 || third.Linked != 0 {
		t.Errorf("third was %+v, want nothing new", third)
	}
	mustHold(t, dest, e.first(660))
}

func inodes(t *testing.T, dir string) map[string]os.FileInfo {
	t.Helper()
	m := make(map[string]os.FileInfo)
	if err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		m[path] = fi
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRefused: a destination that is not an earlier backup of the log is refused and stays
// unchanged.
func TestRefused(t *testing.T) {
	dir := tempDir(t)
	l := open(t, fast(dir))
	e := &entries{}
	appendAll(t, l, e, 0, 10, 10)
	earlier := filepath.Join(tempDir(t), "earlier")
	backupTo(t, dir, earlier)
	appendAll(t, l, e, 10, 10, 10)
	settled(t, l, 1000) // so that only a backup would change anything
	defer l.Close()

	other := tempDir(t)
	ol := open(t, fast(other))
	appendAll(t, ol, &entries{}, 0, 1, 1)
	ol.Close()

	restored := cp(t, earlier, filepath.Join(tempDir(t), "restored"))
	rl := open(t, engine.NewConfig(restored))
	appendAll(t, rl, &entries{acked: e.first(100)}, 90, 20, 10)
	rl.Close()

	full := tempDir(t)
	if err := os.WriteFile(filepath.Join(full, "letter"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := tempDir(t)
	if err := os.MkdirAll(filepath.Join(foreign, "blobs", "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	ahead := filepath.Join(tempDir(t), "ahead")
	backupTo(t, dir, ahead)

	for _, test := range []struct {
		name, data, dest string
		want             error
	}{
		{"another log", dir, other, ErrOther},
		{"gone another way", dir, restored, ErrOther},
		{"the log has", restored, ahead, ErrOther},
		{"ahead", earlier, ahead, ErrOther},
		{"not empty", dir, full, ErrOther},
		{"directory of the same name", dir, foreign, ErrOther},
		{"itself", dir, dir, ErrUsage},
		{"within", dir, filepath.Join(dir, "backup"), ErrUsage},
		{"within the blobs", dir, filepath.Join(dir, "blobs"), ErrUsage},
		{"around", dir, filepath.Dir(dir), ErrUsage},
		{"memory", "memory", filepath.Join(tempDir(t), "x"), ErrUsage},
		{"nothing", "/nonexistent", filepath.Join(tempDir(t), "x"), ErrNoLog},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := ""
			if test.name != "around" {
				before = list(t, test.dest)
			}
			_, err := Run(t.Context(), Config{Data: test.data, Dest: test.dest})
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
			t.Log(err)
			if before == "" {
				return
			}
			if after := list(t, test.dest); test.dest != dir && before != after {
				t.Errorf("was\n%s\nis\n%s", before, after)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		dl := open(t, engine.NewConfig(earlier))
		defer dl.Close()
		if _, err := Run(t.Context(), Config{Data: dir, Dest: earlier}); !errors.Is(err, segment.ErrLocked) {
			t.Fatalf("error is %v, want ErrLocked", err)
		}
	})
}

// list names the files below dir and their sizes, except LOCK.
func list(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil && fi.Name() != "LOCK" && !fi.IsDir() {
			b.WriteString(path + " " + fi.ModTime().String() + "\n")
		}
		return nil
	})
	return b.String()
}

// TestDamagedSource: damage is found on the way, and the earlier backup stays.
func TestDamagedSource(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	c := fast(dir)
	c.LooseMax = 500
	c.RemoveAfter = 1 << 40
	l := open(t, c)
	e := &entries{}
	appendAll(t, l, e, 0, 10, 30)
	settled(t, l, 1000)
	backupTo(t, dir, dest)
	appendAll(t, l, e, 10, 30, 30)
	settled(t, l, 1000)
	l.Close()

	for _, pattern := range []string{"segments/*.seg", "blobs/*/*", "wal/0*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		found := 0
		for i, path := range files {
			if i%(1+len(files)/12) != 0 {
				continue
			}
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := append([]byte(nil), was...)
			bad[len(bad)/2] ^= 4
			// As a new file: a change in place would change what the backup has linked.
			replace(t, path, bad)
			into := cp(t, dest, filepath.Join(tempDir(t), "x"))
			if _, err := Run(t.Context(), Config{Data: dir, Dest: into}); err != nil {
				if !errors.Is(err, segment.ErrDamaged) {
					t.Errorf("%s: error is %v, want ErrDamaged", path, err)
				}
				found++
				mustHold(t, into, e.first(300))
			} else {
				// The earlier backup has this entry too, so it was not read.
				mustHold(t, into, e.first(1200))
			}
			replace(t, path, was)
		}
		t.Logf("%s: %d of %d", pattern, found, len(files))
		if found == 0 {
			t.Errorf("%s: no damage was found", pattern)
		}
	}
}

func replace(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLost: the earlier backup may have the only copy of entries that the log has given up since.
func TestLost(t *testing.T) {
	dir, dest := tempDir(t), filepath.Join(tempDir(t), "dest")
	c := fast(dir)
	c.LooseMax = 0
	l := open(t, c)
	e := &entries{}
	appendAll(t, l, e, 0, 20, 30)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Config{Data: dir, Dest: dest, Copy: true}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "segments", segment.Name(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[segment.HeaderSize+segment.BatchHeaderSize+3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := fsck.RepairOptions{Options: fsck.Options{Data: dir}, AcceptLoss: true}
	if res, err := fsck.Repair(t.Context(), o); err != nil || res.After.Lost == 0 {
		t.Fatalf("repair: %+v, %v", res, err)
	}
	// The files prepared for the new backup do not count.
	held := func() (lines []string) {
		for line := range strings.Lines(list(t, dest)) {
			if !strings.Contains(line, "incoming") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	before := held()
	if _, err := Run(t.Context(), Config{Data: dir, Dest: dest, Copy: true}); !errors.Is(err, ErrLost) {
		t.Fatalf("error is %v, want %v", err, ErrLost)
	}
	if after := held(); !slices.Equal(after, before) {
		t.Errorf("the backup has changed:\n%s\nwas\n%s", after, before)
	}
	mustHold(t, dest, e.first(e.head()))
	other := filepath.Join(tempDir(t), "other")
	if _, err := Run(t.Context(), Config{Data: dir, Dest: other}); err != nil {
		t.Fatalf("into another directory: %v", err)
	}
}

// TestLookupTables: a backup skips the lookup tables, and does not touch those of an earlier backup
// on which a server was run.
func TestLookupTables(t *testing.T) {
	dir, dest := tempDir(t), tempDir(t)
	c := fast(dir)
	l := open(t, c)
	e := &entries{}
	appendAll(t, l, e, 0, 20, 30)
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "lookup", "*.tbl")); len(names) == 0 {
		t.Fatal("the log has no lookup tables")
	}
	for round, want := range []uint64{600, 900} {
		if res := backupTo(t, dir, dest); res.Head != want {
			t.Errorf("the head of the backup is %d, want %d", res.Head, want)
		}
		if _, err := os.Lstat(filepath.Join(dest, "lookup")); (err == nil) != (round == 1) {
			t.Errorf("round %d: lookup tables in the backup: %v", round, err)
		}
		appendAll(t, l, e, 20, 10, 30)
		served := open(t, fast(dest))
		if err := served.AwaitOnce(t.Context()); err != nil {
			t.Error(err)
		}
		if err := served.Close(); err != nil {
			t.Error(err)
		}
	}
	l.Close()
	mustHold(t, dest, e.first(900))
}
