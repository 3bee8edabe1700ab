package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/archive"
	"tcp-log-server/client"
	"tcp-log-server/internal/bucket"
)

// archivedSource returns a source with n entries, all of them archived, and the archive's URL.
func archivedSource(t *testing.T, n int) (source *running, url string) {
	t.Helper()
	config := sourceConfig(t)
	config.segmentSize = 4 << 10
	config.Archive, config.ArchiveEvery = "file://"+filepath.ToSlash(t.TempDir()), time.Second
	source = run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), n)
	eventually(t, "the archive to have everything", func() bool {
		a := statAt(t, source.addr, client.Options{}).Archive
		return a != nil && a.Through == uint64(n) && a.Error == ""
	})
	return source, config.Archive
}

// interruptRestore leaves in data the state of a restore interrupted at its first segment.
func interruptRestore(t *testing.T, url, data string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b, err := bucket.Open(ctx, url, bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = archive.Restore(ctx, b, archive.RestoreConfig{Dir: data, Progress: func(int64, int64) { cancel() }})
	if err == nil || !archive.Unfinished(data) {
		t.Fatalf("the restore was not interrupted: %v", err)
	}
}

// TestReplicaFromArchive: a new replica begins with what an archive has, even after an interruption, and
// needs no archive from then on.
func TestReplicaFromArchive(t *testing.T) {
	source, url := archivedSource(t, 300)
	for name, prepare := range map[string]func(data string){
		"new":         func(string) {},
		"interrupted": func(data string) { interruptRestore(t, url, data) },
	} {
		t.Run(name, func(t *testing.T) {
			copying := copyConfig(t, source.addr)
			copying.Source.From = url
			prepare(copying.Data)
			copied := run(t, copying)
			sameLogs(t, source.addr, copied.addr, client.Options{})
			if s := statAt(t, copied.addr, client.Options{}); s.Appends.Entries > 0 {
				t.Errorf("the source has sent %d entries that the archive has", s.Appends.Entries)
			}
			if err := copied.stop(); err != nil {
				t.Fatal(err)
			}
			copying.Source.From = "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "gone"))
			copied = run(t, copying)
			sameLogs(t, source.addr, copied.addr, client.Options{})
		})
	}
	t.Run("interrupted, and not gone on with", func(t *testing.T) {
		copying := copyConfig(t, source.addr)
		interruptRestore(t, url, copying.Data)
		if err := Run(t.Context(), copying); err == nil || !strings.Contains(err.Error(), copying.Data+" holds an unfinished restore") {
			t.Errorf("a start on what the restore has left: %v", err)
		}
	})
	t.Run("of another log", func(t *testing.T) {
		_, other := archivedSource(t, 5)
		copying := copyConfig(t, source.addr)
		copying.Source.From = other
		if err := Run(t.Context(), copying); err == nil || !strings.Contains(err.Error(), "is the archive of another log") {
			t.Errorf("Run returns %v, want that it is another log", err)
		}
		if _, err := os.Stat(copying.Data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("something was restored: %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		copying := copyConfig(t, source.addr)
		copying.Source.From = "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "gone"))
		if err := Run(t.Context(), copying); err == nil || !strings.HasPrefix(err.Error(), "from: ") {
			t.Errorf("Run returns %v, want why there is no archive", err)
		}
	})
}

// TestReplicaFromNothing: if the archive has no entry yet, the replica gets everything from its source.
func TestReplicaFromNothing(t *testing.T) {
	source, url := archivedSource(t, 0)
	fillSome(t, dialed(t, source.addr, client.Options{}), 3)
	copying := copyConfig(t, source.addr)
	copying.Source.From = url
	sameLogs(t, source.addr, run(t, copying).addr, client.Options{})
}

// TestReplicaOfWrongAddress: the directory of a log that is not the source's is left unchanged: a server
// starts on it.
func TestReplicaOfWrongAddress(t *testing.T) {
	config := sourceConfig(t)
	own := run(t, config)
	fillSome(t, dialed(t, own.addr, client.Options{}), 5)
	if err := own.stop(); err != nil {
		t.Fatal(err)
	}
	wrong := run(t, sourceConfig(t))
	fillSome(t, dialed(t, wrong.addr, client.Options{}), 50)
	copying := copyConfig(t, wrong.addr)
	copying.Data = config.Data
	if err := Run(t.Context(), copying); err == nil || !strings.Contains(err.Error(), "has another log than "+config.Data) {
		t.Fatalf("Run returns %v, want that it is another log", err)
	}
	fillSome(t, dialed(t, run(t, config).addr, client.Options{}), 1)
}
