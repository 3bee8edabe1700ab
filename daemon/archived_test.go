package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/porttest"
	"tcp-log-server/segment"
)

// TestLargerThanItsDisk: a log many times larger than what its directory keeps can be read completely,
// from any index, by its last entries, by time, by content and over HTTP, and equals one that keeps
// everything. It is killed at random moments, and started again.
func TestLargerThanItsDisk(t *testing.T) {
	dir := t.TempDir()
	data, bucket := filepath.Join(dir, "data"), filepath.Join(dir, "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	head := uint64(0)
	const rounds, more = 5, 5000 // about 0.8 MiB each
	for range rounds {
		addr, kill := child(t, dir)
		c, err := client.Dial(t.Context(), addr, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		appendKept(t, c, head+1, head+more)
		head += more
		time.Sleep(rand.N(1500 * time.Millisecond)) // anywhere between the append and the end of archiving
		c.Close()
		kill()
	}
	whole := keepConfig(filepath.Join(dir, "whole"), bucket)
	whole.Archive, whole.ArchiveKeepLocal = "", 0
	w := run(t, whole)
	wc, err := client.Dial(t.Context(), w.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer wc.Close()
	appendKept(t, wc, 1, head)

	config := keepConfig(data, bucket)
	config.HTTP = "127.0.0.1:0"
	for round := range 2 {
		web := porttest.Addr(t)
		config.HTTP = web
		d := run(t, config)
		s := keptDown(t, d.addr, data)
		if s.Head != head || s.Archived.Through < head/2 {
			t.Fatalf("head %d, removed through %d, want head %d", s.Head, s.Archived.Through, head)
		}
		c, err := client.Dial(t.Context(), d.addr, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		readKept(t, c, 1, head)
		for range 30 {
			from := 1 + rand.Uint64N(head)
			readKept(t, c, from, min(head, from+rand.Uint64N(200)))
		}
		n := 0
		for e, err := range c.Read(t.Context(), 1, 0, client.Where(json.RawMessage(`{"n":77}`))) {
			if n++; err != nil || e.Index != 77 {
				t.Errorf("where: entry %d, %v", e.Index, err)
			}
		}
		if n != 1 {
			t.Errorf("where finds %d entries", n)
		}
		last := head - s.Archived.Through + 10
		for e, err := range c.Read(t.Context(), 0, 0, client.Last(last)) {
			if err != nil || string(e.Value) != keptEntry(e.Index) {
				t.Fatalf("last: entry %d, %v", e.Index, err)
			}
			last--
		}
		if last != 0 {
			t.Errorf("%d of the last entries are missing", last)
		}
		var placed struct{ Index uint64 }
		if err := json.Unmarshal([]byte(askLine(t, d.addr, fmt.Sprintf(`{"id":"1","once":true,"entry":%s}`, keptEntry(5)))), &placed); err != nil || placed.Index != 5 {
			t.Errorf("an entry that is there, appended once, is at %d, %v, want 5", placed.Index, err)
		}
		resp, err := http.Get("http://" + web + "/entries?from=1&read=3")
		if err != nil {
			t.Fatal(err)
		}
		body := new(bytes.Buffer)
		_, err = body.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(body.String(), keptEntry(1)) {
			t.Errorf("over HTTP: %s %s %v", resp.Status, body, err)
		}
		if s := askStat(t, d.addr); s.Archived.Misses == 0 || s.Archived.Hits == 0 || s.Archived.Fetched == 0 || s.Archived.Cached == 0 {
			t.Errorf("round %d: stat says %+v", round, s.Archived)
		}
		c.Close()
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(data, archived.CacheName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the cache is still there: %v", err)
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if far, near := digestOf(t, data, head), digestOf(t, whole.Data, head); far != near {
		t.Errorf("the digest is %s, want %s", far, near)
	}
}

// TestArchivedWithoutSetting: a log whose older entries are only in an archive starts without ARCHIVE,
// reads them from where its directory says they are, and archives nothing. If that place is gone it does
// not start, and says what is missing.
func TestArchivedWithoutSetting(t *testing.T) {
	dir := t.TempDir()
	data, bucket := filepath.Join(dir, "data"), filepath.Join(dir, "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	config := keepConfig(data, bucket)
	d := run(t, config)
	c, err := client.Dial(t.Context(), d.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const head = 4000
	appendKept(t, c, 1, head)
	keptDown(t, d.addr, data)
	readKept(t, c, 1, head)
	c.Close()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	checkDirectory(t, data, head)
	config.Archive, config.ArchiveKeepLocal = "", 0
	before, _ := filepath.Glob(filepath.Join(bucket, "*", "*"))
	d = run(t, config)
	if c, err = client.Dial(t.Context(), d.addr, client.Options{}); err != nil {
		t.Fatal(err)
	}
	readKept(t, c, 1, head)
	appendKept(t, c, head+1, head+1000)
	if s := askStat(t, d.addr); s.Archive != nil || s.Archived == nil || s.Archived.URL != "file://"+filepath.ToSlash(bucket) {
		t.Errorf("stat says %+v and %+v", s.Archive, s.Archived)
	}
	c.Close()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if after, _ := filepath.Glob(filepath.Join(bucket, "*", "*")); len(after) != len(before) {
		t.Errorf("the bucket has %d objects, before %d", len(after), len(before))
	}
	if err := os.Rename(bucket, bucket+".gone"); err != nil {
		t.Fatal(err)
	}
	note, err := segment.ReadArchived(data)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("entries of this log through %d are in its archive", note.Through)
	if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without the archive: %v, want %q", err, want)
	}
}

// TestArchivedGone: while the archive is gone, reads of its entries end with an error that says so; local
// entries can be read, and appends work. Once it is back, so do all reads.
func TestArchivedGone(t *testing.T) {
	dir := t.TempDir()
	data, bucket := filepath.Join(dir, "data"), filepath.Join(dir, "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	d := run(t, keepConfig(data, bucket))
	c, err := client.Dial(t.Context(), d.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const head = 4000
	appendKept(t, c, 1, head)
	s := keptDown(t, d.addr, data)
	if err := os.Rename(bucket, bucket+".gone"); err != nil {
		t.Fatal(err)
	}
	appendKept(t, c, head+1, head+10)
	readKept(t, c, s.Archived.Through+500, head+10)
	for e, err := range c.Read(t.Context(), 1, 0, client.Through(10)) {
		if !errors.Is(err, client.ErrLost) {
			t.Errorf("the archive is gone, and a read has %s, %v, want ErrLost", e.Value, err)
		}
	}
	if err := os.Rename(bucket+".gone", bucket); err != nil {
		t.Fatal(err)
	}
	readKept(t, c, 1, head+10)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}
