package segment

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newBlobs(t *testing.T) *Blobs {
	t.Helper()
	b, err := OpenBlobs(filepath.Join(t.TempDir(), "deep", "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func put(t *testing.T, b *Blobs, entry string, created bool) Record {
	t.Helper()
	h := Sum([]byte(entry))
	got, err := b.Put(t.Context(), h, []byte(entry))
	if err != nil || got != created {
		t.Fatalf("Put %s: created %v, %v, want %v", entry, got, err, created)
	}
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return Record{Hash: h, Size: uint32(len(entry))}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	b := newBlobs(t)
	entries := []string{"{}", "[]", "null", `{"a":1}`, `"` + strings.Repeat("x", 1<<20) + `"`}
	for _, created := range []bool{true, false} {
		for _, e := range entries {
			r := put(t, b, e, created)
			if got, err := ReadBlob(t.Context(), b, r); err != nil || string(got) != e {
				t.Errorf("Get %.20s: %.20s, %v", e, got, err)
			}
			s := r.Hash.String()
			path := filepath.Join(b.dir, s[:2], s[2:])
			if got := readFile(t, path); string(got) != e {
				t.Errorf("file %s holds %.20s, want %.20s", path, got, e)
			}
		}
		if n, _, err := b.Count(); err != nil || n != len(entries) {
			t.Errorf("Count is %d, %v, want %d", n, err, len(entries))
		}
	}
	if _, err := ReadBlob(t.Context(), b, Record{Hash: Sum([]byte("none")), Size: 4}); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		t.Errorf("no such blob: %v, want ErrNotFound", err)
	}
}

// TestDamagedBlob: Get refuses anything but the entry, and Put replaces it.
func TestDamagedBlob(t *testing.T) {
	t.Parallel()
	const entry = `{"a":1}`
	for name, damage := range map[string]string{
		"empty": "", "short": `{"a":1`, "long": `{"a":1}x`, "flipped": `{"a":0}`, "zeros": "\x00\x00\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlobs(t)
			r := put(t, b, entry, true)
			path := filepath.Join(b.dir, BlobPath(r.Hash))
			writeFile(t, path, []byte(damage))
			_, err := ReadBlob(t.Context(), b, r)
			var d *DamageError
			if !errors.As(err, &d) || d.Path != path || errors.Is(err, ErrNotFound) {
				t.Errorf("Get: %v, want damage of %s", err, path)
			}
			put(t, b, entry, false)
			if got, err := ReadBlob(t.Context(), b, r); err != nil || string(got) != entry {
				t.Errorf("after Put: %q, %v", got, err)
			}
			if n, _, err := b.Count(); err != nil || n != 1 {
				t.Errorf("Count is %d, %v, want 1", n, err)
			}
		})
	}
}

func TestBlobDirectoryGone(t *testing.T) {
	t.Parallel()
	b := newBlobs(t)
	r := put(t, b, "{}", true)
	if err := os.RemoveAll(filepath.Dir(filepath.Join(b.dir, BlobPath(r.Hash)))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), r.Hash, []byte("{}")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the first Put says %v, want that there is no directory", err)
	}
	put(t, b, "{}", true)
}

func TestOpenBlobsRemovesStray(t *testing.T) {
	t.Parallel()
	b := newBlobs(t)
	writeFile(t, filepath.Join(b.dir, tmpBlob), []byte("half an en"))
	again, err := OpenBlobs(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := names(t, b.dir); len(got) != 0 {
		t.Errorf("the directory holds %q", got)
	}
}

func TestSyncEach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var paths []string
	for i := range 50 {
		path := filepath.Join(dir, Name(uint64(i+1)))
		writeFile(t, path, []byte("x"))
		paths = append(paths, path, dir)
	}
	if err := syncEach(paths); err != nil {
		t.Error(err)
	}
	if err := syncEach(append(paths, filepath.Join(dir, "none"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func TestBlobPath(t *testing.T) {
	t.Parallel()
	h := Sum([]byte("{}"))
	s := h.String()
	if got := BlobPath(h); got != filepath.Join(s[:2], s[2:]) {
		t.Errorf("path is %s", got)
	}
	if got, ok := ParseBlobPath(s[:2], s[2:]); !ok || got != h {
		t.Errorf("parsed %v, %v", got, ok)
	}
	for _, p := range [][2]string{
		{"", s}, {s[:1], s[1:]}, {s[:2], s[2:63]}, {s[:2], s[2:] + "0"}, {"zz", s[2:]},
		{strings.ToUpper("ab"), s[2:]}, {s[:2], strings.ToUpper(s[2:])}, {s[:2], strings.Repeat("g", 62)},
	} {
		if h, ok := ParseBlobPath(p[0], p[1]); ok {
			t.Errorf("parsed %q as %v", p, h)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, first := range []uint64{1, 44, 1<<64 - 1} {
		if got, ok := ParseName(Name(first)); !ok || got != first {
			t.Errorf("%s parsed as %d, %v", Name(first), got, ok)
		}
	}
	for _, name := range []string{"", "1.seg", Name(0), "0000000000000000001.seg", "000000000000000000001.seg",
		"0000000000000000000x.seg", "+0000000000000000001.seg", "99999999999999999999.seg", "00000000000000000001", "00000000000000000001.seg.bak", NextName} {
		if first, ok := ParseName(name); ok {
			t.Errorf("%q parsed as %d", name, first)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{Name(300), Name(2), NextName, "x", Name(10)} {
		writeFile(t, filepath.Join(dir, name), nil)
	}
	if got, err := List(dir); err != nil || len(got) != 3 || got[0] != 2 || got[1] != 10 || got[2] != 300 {
		t.Errorf("List is %v, %v", got, err)
	}
	if got, err := List(filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("List of no directory is %v, %v", got, err)
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, ok, err := FindMark(filepath.Join(dir, "none")); ok || err != nil {
		t.Errorf("no directory: %v, %v", ok, err)
	}
	writeFile(t, filepath.Join(dir, "store-"+testStore.String()), nil) // a file is not a mark
	if _, ok, err := FindMark(dir); ok || err != nil {
		t.Errorf("no mark: %v, %v", ok, err)
	}
	dir = t.TempDir()
	for range 2 {
		if err := Mark(dir, testStore); err != nil {
			t.Fatal(err)
		}
	}
	if id, ok, err := FindMark(dir); id != testStore || !ok || err != nil {
		t.Errorf("found %s, %v, %v", id, ok, err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "store-deadbeef000000000000000000000001" {
		t.Errorf("the directory holds %q", got)
	}
	other := StoreID(bytes.Repeat([]byte{7}, 16))
	if err := Mark(dir, other); err == nil || !strings.Contains(err.Error(), "belongs to store deadbeef") {
		t.Errorf("another's mark: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "store-"+other.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FindMark(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("two marks: %v", err)
	}
}

func TestMakeDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "file")
	writeFile(t, file, nil)
	if err := MakeDir(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file in its place: %v", err)
	}
	if err := MakeDir(filepath.Join(file, "below")); err == nil {
		t.Error("a file in a parent's place: no error")
	}
}

func TestDamageError(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, tt := range []struct {
		err  DamageError
		want string
	}{
		{DamageError{Path: "p", Offset: 8, Err: cause}, "p, offset 8: cause"},
		{DamageError{Path: "p", Offset: 8, First: 3, Err: cause}, "p, offset 8, indices from 3: cause"},
		{DamageError{Path: "p", Offset: 8, First: 3, Last: 3, Err: cause}, "p, offset 8, index 3: cause"},
		{DamageError{Path: "p", Offset: 8, First: 3, Last: 5, Err: cause}, "p, offset 8, indices 3 to 5: cause"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("error reads %q, want %q", got, tt.want)
		}
		if !errors.Is(&tt.err, ErrDamaged) || !errors.Is(&tt.err, cause) {
			t.Error("the error does not wrap ErrDamaged and its cause")
		}
	}
}

// TestSum pins the hash to BLAKE3's published value for the empty input.
func TestSum(t *testing.T) {
	t.Parallel()
	const want = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	if got := Sum(nil).String(); got != want {
		t.Errorf("hash of nothing is %s, want %s", got, want)
	}
}
