package faults

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFullDisk runs the server on a tmpfs without bytes or inodes left. Appends are
// refused and reads continue. Once there is room, the same process accepts appends
// again and writes the missing blobs and records.
func TestFullDisk(t *testing.T) {
	needTmpfs(t)
	debug := []string{"LOG_LEVEL=debug", "FAULT_SETTLE_EVERY=10ms"}
	t.Run("no-bytes", func(t *testing.T) {
		h := newHistory(func(int) int { return 1000 })
		dir := newTmpfs(t, "size=32m")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: debug})
		accepted(t, p.addr, h, 100)
		settledAll(t, p, 100)

		fill(t, dir)
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		eventually(t, "an append is refused", func() bool { return h.failures() > 0 })
		writers.halt()
		p.await("refused")
		p.await("settle")
		served(t, p.addr)
		verify(t, p.addr, h)

		makeRoom(t, dir)
		accepted(t, p.addr, h, 100)
		acked, _, unknown := h.counts()
		if unknown > 0 {
			t.Errorf("%d entries have an unknown outcome", unknown)
		}
		for text := range h.errors() {
			if !strings.HasPrefix(text, "not stored: not written to ") || !strings.HasSuffix(text, "no space left on device") {
				t.Errorf("a writer is told %q, want that there is no space left", text)
			}
		}
		settledAll(t, p, uint64(acked))
		if head := verify(t, p.addr, h); head != uint64(acked) {
			t.Errorf("the log has %d entries, want the %d that were acknowledged", head, acked)
		}
		p.clean()
		fsckSettled(t, p.data, acked)
		recovered(t, p.data, h)
	})
	t.Run("no-inodes", func(t *testing.T) {
		h := newHistory(nil)
		// There are enough bytes for a page for each blob until the inodes run out.
		dir := newTmpfs(t, "size=1g,nr_inodes=400")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: append(debug, "FAULT_SEGMENT_SIZE=65536")})
		accepted(t, p.addr, h, 20)
		settledAll(t, p, 20)

		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		p.await("settle")
		eventually(t, "a segment cannot be created", func() bool { return h.failures() > 0 })
		writers.halt()
		p.await("refused")
		verify(t, p.addr, h)

		run(t, "mount", "-o", "remount,nr_inodes=1000000", dir)
		accepted(t, p.addr, h, 500)
		acked, _, unknown := h.counts()
		if unknown > 0 {
			t.Errorf("%d entries have an unknown outcome", unknown)
		}
		for text := range h.errors() {
			if !strings.HasPrefix(text, "not stored: open ") || !strings.HasSuffix(text, "no space left on device") {
				t.Errorf("a writer is told %q, want that there is no space left", text)
			}
		}
		settledAll(t, p, uint64(acked))
		verify(t, p.addr, h)
		p.clean()
		fsckSettled(t, p.data, acked)
		recovered(t, p.data, h)
	})
	// A log without writes needs no room: it starts, and can be read.
	t.Run("start-without-room", func(t *testing.T) {
		h := newHistory(func(int) int { return 1000 })
		dir := newTmpfs(t, "size=8m")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: []string{"LOG_LEVEL=debug"}})
		accepted(t, p.addr, h, 100)
		settledAll(t, p, 100)
		p.clean()

		fill(t, dir)
		p = server(t, options{Data: p.data})
		verify(t, p.addr, h)
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		eventually(t, "an append is refused", func() bool { return h.failures() > 0 })
		writers.halt()
		verify(t, p.addr, h)
		makeRoom(t, dir)
		accepted(t, p.addr, h, 10)
		p.clean()
		recovered(t, p.data, h)
	})
	t.Run("start-without-room-for-a-table", func(t *testing.T) {
		h := newHistory(nil)
		dir := newTmpfs(t, "size=32m")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: []string{"LOG_LEVEL=debug", "FAULT_SEGMENT_SIZE=131072"}})
		h.write(t, p.addr, load{Depth: 1, Entries: 3000}) // a table of several pages
		settledAll(t, p, 3000)
		p.clean()
		noTable(t, segmentFiles(t, p.data)[0])

		fill(t, dir)
		p = server(t, options{Data: p.data})
		p.await("seal")
		verify(t, p.addr, h)
		makeRoom(t, dir)
		accepted(t, p.addr, h, 10)
		p.clean()
		recovered(t, p.data, h)
	})
	// There is no room to keep the traces of a crash after the last batch and at the start of a segment.
	t.Run("start-without-room-for-what-a-crash-left", func(t *testing.T) {
		h := newHistory(func(int) int { return 1000 })
		dir := newTmpfs(t, "size=8m")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: []string{"LOG_LEVEL=debug"}})
		accepted(t, p.addr, h, 100)
		settledAll(t, p, 100)
		p.clean()
		path := segmentFiles(t, p.data)[0]
		torn := tear(t, path)
		residue := overlap(t, path, 50)

		fill(t, dir)
		p = server(t, options{Data: p.data})
		p.await("residue")
		p.await("torn")
		verify(t, p.addr, h)
		writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
		eventually(t, "an append is refused", func() bool { return h.failures() > 0 })
		writers.halt()
		verify(t, p.addr, h)
		p.clean() // the next start finds everything unchanged
		if b, err := os.ReadFile(path); err != nil || !bytes.HasSuffix(b, torn) {
			t.Errorf("the segment does not end with the torn bytes any more (%v)", err)
		}

		p = server(t, options{Data: p.data})
		p.await("torn")
		refused(t, p.addr, h, 10, "not stored: ")
		makeRoom(t, dir)
		eventually(t, "an append is accepted", func() bool {
			before := h.acks.Load()
			h.write(t, p.addr, load{Entries: 1})
			return h.acks.Load() > before
		})
		accepted(t, p.addr, h, 10)
		p.clean()
		kept := files(t, p.data, "lost+found", "*")
		if len(kept) != 2 {
			t.Errorf("lost+found has %v, want the torn bytes and a note", kept)
		}
		for _, path := range kept {
			if b, err := os.ReadFile(path); err != nil || filepath.Base(path) != "notes.jsonl" && !bytes.HasSuffix(b, torn) {
				t.Errorf("%s holds %d bytes (%v), want the torn bytes", path, len(b), err)
			}
		}
		recovered(t, p.data, h)
		if _, err := os.Stat(residue); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the empty segment is still there (%v)", err)
		}
	})
}

// tear adds to a segment the traces of a write whose first sector is missing after a crash,
// and returns them.
func tear(t testing.TB, path string) []byte {
	t.Helper()
	torn := append(make([]byte, 512), bytes.Repeat([]byte("torn "), 500)...)
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(b, torn...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return torn
}

// overlap makes an empty segment with the first index first, as a failed attempt to begin one
// leaves it. Its header is like that of the segment at path. overlap returns its path.
func overlap(t testing.TB, path string, first uint64) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:64:64]
	binary.LittleEndian.PutUint64(b[32:], first)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], crc32.MakeTable(crc32.Castagnoli)))
	path = filepath.Join(filepath.Dir(path), fmt.Sprintf("%020d.seg", first))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noTable removes the table and the footer of a segment, like a crash before they are written.
func noTable(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	footer := b[len(b)-64:]
	if err := os.Truncate(path, int64(binary.LittleEndian.Uint64(footer[8:]))); err != nil {
		t.Fatal(err)
	}
}

// newTmpfs mounts a tmpfs for the duration of the test and returns its path.
func newTmpfs(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
	t.Cleanup(func() { run(t, "umount", "-l", dir) })
	return dir
}

// fsckSettled checks a log without a server: it is whole, and has the record and the
// blob of each of its n entries. args are for fsck.
func fsckSettled(t *testing.T, data string, n int, args ...string) {
	t.Helper()
	code, lines := fsckOf(t, data, args...)
	found := lines[len(lines)-1]
	if code != 0 || found["entries"] != float64(n) || found["indexed"] != float64(n) || found["blobs"] != float64(n) {
		t.Errorf("fsck's exit code is %d and it finds %v, want 0 and %d entries with records and blobs", code, found, n)
	}
	for _, l := range lines[:len(lines)-1] {
		if l["kind"] != "segment-settled" { // a segment that will be removed in time
			t.Errorf("fsck finds %v, want nothing wrong", l)
		}
	}
}
