package bucketblobs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/engine/enginetest"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/segment"
)

var _ engine.BlobMarker = (*bucketblobs.Store)(nil)

func open(t *testing.T, dir string) *bucketblobs.Store {
	t.Helper()
	s, err := bucketblobs.Open(t.Context(), "file://"+filepath.ToSlash(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	enginetest.BlobStore(t, func(t *testing.T) engine.BlobStore { return open(t, t.TempDir()) })
}

// TestDamaged: Put replaces wrong bytes under the name of a blob, and reports that the blob
// existed.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	blob := []byte(`{"a":1}`)
	hash := segment.Sum(blob)
	path := filepath.Join(dir, segment.BlobPath(hash))
	for _, there := range []string{"", `{"a":1`, `{"a":1}x`, `{"a":2}`} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
		if created, err := s.Put(t.Context(), hash, blob); created || err != nil {
			t.Fatalf("Put over %q: created %v, %v", there, created, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(blob) {
			t.Errorf("after Put over %q the object has %q, %v", there, got, err)
		}
	}
}

// TestAbsent: a bucket that does not exist when the store is opened is used once it does.
func TestAbsent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "share")
	s := open(t, dir)
	blob := []byte(`{"a":1}`)
	if _, err := s.Put(t.Context(), segment.Sum(blob), blob); err == nil {
		t.Fatal("Put into a bucket that is not there succeeded")
	}
	if _, err := s.Get(t.Context(), segment.Sum(blob), 100); err == nil || errors.Is(err, engine.ErrNotFound) {
		t.Fatalf("Get from a bucket that is not there: %v, want an error that does not say that the blob is missing", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if created, err := s.Put(t.Context(), segment.Sum(blob), blob); !created || err != nil {
		t.Fatalf("Put: created %v, %v", created, err)
	}
}

// TestTwoMarks: a store that two logs have marked at the same time belongs to neither.
func TestTwoMarks(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 2 {
		if err := s.Mark(t.Context(), segment.StoreID{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.FindMark(t.Context()); !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("two marks: %v", err)
	}
}

func TestBadURL(t *testing.T) {
	for _, url := range []string{"file://host/path", "s3://x", "file://relative"} {
		if _, err := bucketblobs.Open(t.Context(), url); err == nil {
			t.Errorf("opened %s", url)
		}
	}
}
