package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/backup"
	"tcp-log-server/client"
	"tcp-log-server/fsck"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/reader"
	"tcp-log-server/segment"
)

// keepConfig is a daemon that keeps 256 KiB of its log and archives all of it to a directory.
func keepConfig(data, bucket string) Config {
	config := NewConfig(data)
	config.Port, config.LooseMax, config.segmentSize = 0, 0, 64<<10
	config.Archive, config.ArchiveEvery = "file://"+filepath.ToSlash(bucket), time.Second
	config.ArchiveRate = 1 << 30
	config.ArchiveKeepLocal = 256 << 10
	return config
}

// keptEntry is the entry of an index.
func keptEntry(index uint64) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("ab", int(index%150)))
}

// appendKept appends the entries first..last, as keptEntry has them, in batches of up to 40 KiB.
func appendKept(t *testing.T, c *client.Client, first, last uint64) {
	t.Helper()
	for ; last-first >= 250; first += 250 {
		appendKept(t, c, first, first+249)
	}
	acked := make(chan error, last-first+1)
	for index := first; index <= last; index++ {
		err := c.AppendAsync(t.Context(), []byte(keptEntry(index)), func(got uint64, err error) {
			if err == nil && got != index {
				err = fmt.Errorf("entry %d is stored at %d", index, got)
			}
			acked <- err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range last - first + 1 {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
}

// readKept reads the entries from..through and compares them with what was appended.
func readKept(t *testing.T, c *client.Client, from, through uint64) {
	t.Helper()
	next := from
	for e, err := range c.Read(t.Context(), from, 0, client.Through(through)) {
		if err != nil {
			t.Fatalf("reading from %d, at %d: %v", from, next, err)
		}
		if e.Index != next || string(e.Value) != keptEntry(next) {
			t.Fatalf("entry %d is %s, want entry %d: %s", e.Index, e.Value, next, keptEntry(next))
		}
		next++
	}
	if next != through+1 {
		t.Fatalf("reading from %d ended at %d, want %d", from, next, through+1)
	}
}

func askStat(t *testing.T, addr string) (s Stat) {
	t.Helper()
	answer := struct{ Stat *Stat }{&s}
	if err := json.Unmarshal([]byte(askLine(t, addr, `{"stat":true}`)), &answer); err != nil {
		t.Fatal(err)
	}
	return s
}

// askLine sends a line and returns the first line of the answer.
func askLine(t *testing.T, addr, line string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, line)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %q, %v", line, answer, err)
	}
	return answer
}

// keptDown waits until the directory has no more than it is to keep.
func keptDown(t *testing.T, addr, data string) (s Stat) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s = askStat(t, addr)
		local := int64(0)
		names, _ := filepath.Glob(filepath.Join(data, "segments", "*.seg"))
		for _, name := range names {
			if fi, err := os.Stat(name); err == nil {
				local += fi.Size()
			}
		}
		if s.Archived != nil && s.Archived.Through > 0 && local <= (256+600)<<10 { // a batch can be larger than a segment
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of segments are left: %+v, %+v", local, s.Archived, s.Archive)
		}
	}
}

// TestChild is the daemon of TestLargerThanItsDisk, in a process of its own.
func TestChild(t *testing.T) {
	dir := os.Getenv("DAEMON_TEST_CHILD")
	if dir == "" {
		t.Skip("it is no test")
	}
	config := keepConfig(filepath.Join(dir, "data"), filepath.Join(dir, "bucket"))
	config.Logger = zerolog.New(os.Stderr)
	config.OnReady = func(addr net.Addr) { fmt.Printf("ready %s\n", addr) }
	_ = Run(context.Background(), config)
}

// child starts a daemon that kill ends without a chance to tidy up.
func child(t *testing.T, dir string) (addr string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "DAEMON_TEST_CHILD="+dir)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	for in := bufio.NewScanner(out); in.Scan(); {
		if addr, ok := strings.CutPrefix(in.Text(), "ready "); ok {
			return addr, kill
		}
	}
	kill()
	t.Fatalf("the daemon has ended: %s", log.Bytes())
	return "", nil
}

// TestLargerThanItsDisk: a log many times what its directory keeps is read whole, from anywhere,
// by its last entries, by time, by content and over HTTP, and is the same as one that keeps
// everything. In between it is killed, at any moment, and started again.
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
		time.Sleep(rand.N(1500 * time.Millisecond)) // anywhere between the append and all being archived
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
		web := freeAddr(t)
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

// digestOf is the hash of the hashes of a log's entries.
func digestOf(t *testing.T, data string, head uint64) segment.Hash {
	t.Helper()
	records, err := segment.ReadRecords(filepath.Join(data, "wal"), 1, head)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, r := range records {
		all = append(all, r.Hash[:]...)
	}
	return segment.Sum(all)
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestArchivedWithoutSetting: a log whose older entries are in an archive only starts without
// ARCHIVE, reads them from where its directory says they are, and archives nothing. If that
// place is gone it does not start, and says what is missing.
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

// TestArchivedGone: while the archive is gone, reads of what is there end with an error that says
// so, and entries that are here are read and appended. When it is back, reads go on.
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

// checkDirectory checks what the tools for directories say of one whose older entries are in an
// archive only: fsck finds it whole, cat reads what is here, and no backup is made that would not
// be whole. A record that is damaged there is not repaired by giving its entry up.
func checkDirectory(t *testing.T, data string, head uint64) {
	t.Helper()
	note, err := segment.ReadArchived(data)
	if err != nil {
		t.Fatal(err)
	}
	var found []fsck.Finding
	options := fsck.Options{Data: data, OnFinding: func(f fsck.Finding) { found = append(found, f) }}
	sum, err := fsck.Check(t.Context(), options)
	if err != nil || len(found) > 0 || sum.Archived != note.Through || sum.Archive != note.URL || sum.Damaged > 0 || sum.Digest == "" {
		t.Errorf("fsck: %+v, %v, %v", sum, found, err)
	}
	var out bytes.Buffer
	fsck.NewPrinter(&out, false).Summary(sum)
	if want := fmt.Sprintf("%d entries are in the archive at %s only and have not been checked here", note.Through, note.URL); !strings.Contains(out.String(), want) {
		t.Errorf("fsck prints %s, want %q", out.String(), want)
	}
	l, err := reader.Open(reader.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	next := note.Through + 1
	read := func(index uint64, entry []byte, _ int64, err error) error {
		if err != nil || index != next || string(entry) != keptEntry(index) {
			return fmt.Errorf("entry %d is %s, %w", index, entry, err)
		}
		next++
		return nil
	}
	if err := l.Read(t.Context(), next, head, read); err != nil || next != head+1 {
		t.Errorf("what is here reads through %d, %v", next-1, err)
	}
	if err := l.Read(t.Context(), 1, head, read); !errors.Is(err, reader.ErrArchived) || errors.Is(err, reader.ErrDamaged) {
		t.Errorf("what is not here reads as %v", err)
	}
	if _, err := backup.Run(t.Context(), backup.Config{Data: data, Dest: filepath.Join(t.TempDir(), "backup")}); !errors.Is(err, backup.ErrArchived) {
		t.Errorf("backup: %v, want ErrArchived", err)
	}
	broken := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(broken, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	path, _, off := segment.RecordPath(filepath.Join(broken, "wal"), 5)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("broken"), off+5)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	options = fsck.Options{Data: broken}
	if _, err := fsck.Repair(t.Context(), fsck.RepairOptions{Options: options, AcceptLoss: true}); !errors.Is(err, fsck.ErrArchived) {
		t.Errorf("repair: %v, want ErrArchived", err)
	}
}
