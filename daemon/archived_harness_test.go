package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	"tcp-log-server/internal/reader"
	"tcp-log-server/segment"
)

// keepConfig returns the configuration of a daemon that keeps 256 KiB of its log and archives all of it
// to a directory.
func keepConfig(data, bucket string) Config {
	config := NewConfig(data)
	config.Port, config.LooseMax, config.segmentSize = 0, 0, 64<<10
	config.Archive, config.ArchiveEvery = "file://"+filepath.ToSlash(bucket), time.Second
	config.ArchiveRate = 1 << 30
	config.ArchiveKeepLocal = 256 << 10
	return config
}

// keptEntry returns the entry at an index.
func keptEntry(index uint64) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s"}`, index, strings.Repeat("ab", int(index%150)))
}

// appendKept appends the entries first..last of keptEntry, in batches of up to 40 KiB.
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

// readKept reads the entries from..through and compares them with those appended.
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

// keptDown waits until the directory has shrunk to what it should keep.
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
		if s.Archived != nil && s.Archived.Through > 0 && local <= (256+600)<<10 { // a batch may be larger than a segment
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of segments are left: %+v, %+v", local, s.Archived, s.Archive)
		}
	}
}

// TestChild is the daemon of TestLargerThanItsDisk, in its own process.
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

// child starts a daemon. kill ends it without a chance to clean up.
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

// digestOf returns the hash of the hashes of a log's entries.
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

// checkDirectory checks what the tools for directories say of one whose older entries are only in an
// archive: fsck finds it whole, cat reads the local entries, and no incomplete backup is made. Repair
// does not give up an entry whose record there is damaged.
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
