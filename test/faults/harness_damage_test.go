package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// unfinish adds traces of a crash to a log without a server: half a batch after the
// last one, half a record, and half-made files.
func unfinish(t testing.TB, data string) {
	t.Helper()
	if segments := files(t, data, "segments", "*.seg"); len(segments) > 0 {
		last := segments[len(segments)-1]
		b, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		if off, half := halfBatch(b); half != nil {
			writeAt(t, last, off, half)
		}
	}
	if index := files(t, data, "wal", "00*"); len(index) > 0 {
		last := index[len(index)-1]
		b, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		writeAt(t, last, int64(len(b)), b[:min(len(b), 17)])
	}
	for _, name := range []string{"segments/next.tmp", "blobs/blob.tmp"} {
		if _, err := os.Stat(filepath.Dir(filepath.Join(data, name))); err != nil {
			continue // not that far yet
		}
		if err := os.WriteFile(filepath.Join(data, name), []byte(`{"half`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// halfBatch returns the first half of the batch that would come next in the segment b,
// and its offset; nil if the segment is sealed or has no batch. See docs/FORMAT.md.
func halfBatch(b []byte) (off int64, half []byte) {
	const header = 48
	le, at, castagnoli := binary.LittleEndian, 64, crc32.MakeTable(crc32.Castagnoli)
	var first uint64
	var prev uint32
	// A header without entries is a proof of the end: the next batch takes its place.
	for at+header <= len(b) && string(b[at:at+4]) == "BTCH" && le.Uint32(b[at+16:]) > 0 {
		end := at + header + int(le.Uint32(b[at+4:]))
		if end > len(b) || crc32.Checksum(b[at+header:end], castagnoli) != le.Uint32(b[at+40:]) {
			break // half a batch already
		}
		first, prev = le.Uint64(b[at+8:])+uint64(le.Uint32(b[at+16:])), le.Uint32(b[at+44:])
		at = end
	}
	if rest := bytes.TrimRight(b[at:], "\x00"); first == 0 || len(rest) > header {
		return 0, nil
	}
	half = append(make([]byte, header), bytes.Repeat([]byte("x"), 500)...)
	copy(half, "BTCH")
	le.PutUint32(half[4:], 1000) // the size of its body
	le.PutUint64(half[8:], first)
	le.PutUint32(half[16:], 1) // entries
	le.PutUint32(half[20:], prev)
	le.PutUint64(half[32:], uint64(at))
	le.PutUint32(half[44:], crc32.Checksum(half[:44], castagnoli))
	return int64(at), half
}

// recordStride is the size of a record in the index, in bytes: see docs/FORMAT.md.
const recordStride = 49

// damagedLog makes a settled log of many segments, with blobs, and damages parts of each
// kind such that a repair can restore everything. Each of its 8 writers sends perWriter
// entries.
func damagedLog(t testing.TB, perWriter int) (*history, string) {
	t.Helper()
	h, data := newHistory(nil), newData(t)
	env := []string{fmt.Sprintf("FAULT_SEGMENT_SIZE=%d", 1024+perWriter*100), "FAULT_SETTLE_EVERY=1ms", "LOOSE_MAX=-1"}
	p := server(t, options{Data: data, Env: env})
	h.write(t, p.addr, load{Writers: 8, Depth: 8, Entries: perWriter})
	p.clean()
	eventually(t, "the log is settled", func() bool {
		sum := fsck(t, data)
		if sum["indexed"] == sum["entries"] {
			return true
		}
		server(t, options{Data: data, Env: env}).clean() // so that it settles more
		return false
	})
	segments := files(t, data, "segments", "*.seg")
	if len(segments) < 5 {
		t.Fatalf("the log has %d segments, want 5 at least", len(segments))
	}
	for i, path := range segments[:len(segments)-1] {
		switch i % 4 {
		case 0: // within a batch
			flip(t, path, 200)
		case 1: // the footer
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, path, fi.Size()-5)
		case 2: // the header
			flip(t, path, 20)
		case 3: // the record of an undamaged entry
			var first int64
			if _, err := fmt.Sscanf(filepath.Base(path), "%d.seg", &first); err != nil {
				t.Fatal(err)
			}
			flip(t, filepath.Join(data, "wal", "00000000000000000001"), (first-1)*recordStride+10)
		}
	}
	return h, data
}

// files returns the files in one directory of a log, in order.
func files(t testing.TB, data, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// flip inverts one bit.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, path, off, []byte{b[off] ^ 0x10})
}

func writeAt(t testing.TB, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}
