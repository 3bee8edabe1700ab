package bucket_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
)

func openDir(t *testing.T, dir string, o bucket.Options) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), "file://"+filepath.ToSlash(dir), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFile(t *testing.T) {
	buckettest.Run(t, 3<<20, func(t *testing.T) bucket.Bucket { return openDir(t, t.TempDir(), bucket.Options{}) })
}

func TestFileMissing(t *testing.T) {
	_, err := bucket.Open(t.Context(), "file://"+filepath.Join(t.TempDir(), "none"), bucket.Options{})
	if !errors.Is(err, bucket.ErrNoBucket) {
		t.Errorf("got error %v, want ErrNoBucket", err)
	}
}

// An unfinished object left over from a crash is invisible, and is removed a day later.
func TestFileUnfinished(t *testing.T) {
	dir := t.TempDir()
	buckettest.Put(t, openDir(t, dir, bucket.Options{}), "a", []byte("x"))
	unfinished := filepath.Join(dir, ".unfinished")
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": time.Hour} {
		path := filepath.Join(unfinished, name)
		then := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	b := openDir(t, dir, bucket.Options{})
	buckettest.Put(t, b, "b", []byte("y"))
	if got := buckettest.List(t, b, "", ""); len(got) != 2 {
		t.Errorf("got keys %q, want a and b", got)
	}
	left, err := os.ReadDir(unfinished)
	if err != nil || len(left) != 1 || left[0].Name() != "young" {
		t.Errorf("got %v, %v in %s, want young alone", left, err, unfinished)
	}
}

// A failed Put leaves nothing.
func TestFileFailedPut(t *testing.T) {
	dir := t.TempDir()
	b := openDir(t, dir, bucket.Options{})
	if err := b.Put(t.Context(), "a", strings.NewReader("abc"), 4, true); err == nil {
		t.Error("got no error for a content that is too short")
	}
	if left, err := os.ReadDir(filepath.Join(dir, ".unfinished")); err != nil || len(left) != 0 {
		t.Errorf("got %v, %v, want nothing", left, err)
	}
}

// While a share is not mounted, its mount point is not mistaken for it.
func TestFileNotMounted(t *testing.T) {
	parent := t.TempDir()
	dir, share := filepath.Join(parent, "mnt"), filepath.Join(parent, "share")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := openDir(t, dir, bucket.Options{})
	buckettest.Put(t, b, "a", []byte("x"))
	if err := errors.Join(os.Rename(dir, share), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	check := func(op string, err error) {
		t.Helper()
		if !errors.Is(err, bucket.ErrNoBucket) || errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("%s: got error %v, want ErrNoBucket alone", op, err)
		}
	}
	calls := func() {
		t.Helper()
		check("put", b.Put(t.Context(), "b", strings.NewReader("x"), 1, false))
		_, err := b.Get(t.Context(), "a", 0, -1)
		check("get", err)
		_, err = b.Stat(t.Context(), "a")
		check("stat", err)
		check("list", b.List(t.Context(), "", "", func(bucket.Object) error { return nil }))
		check("delete", b.Delete(t.Context(), "a"))
	}
	calls()
	if err := os.Remove(dir); err != nil { // check that it is empty
		t.Fatal(err)
	}
	calls()
	if err := os.Rename(share, dir); err != nil {
		t.Fatal(err)
	}
	if got := buckettest.Get(t, b, "a"); string(got) != "x" {
		t.Errorf("got %q, want x", got)
	}
}

// Links in the directory do not lead outside.
func TestFileLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("x"), 0o600), os.Symlink(secret, filepath.Join(dir, "file")),
		os.Symlink(outside, filepath.Join(dir, "dir"))); err != nil {
		t.Skip(err)
	}
	b := openDir(t, dir, bucket.Options{})
	for _, key := range []string{"file", "dir/secret"} {
		if _, err := b.Get(t.Context(), key, 0, -1); err == nil {
			t.Errorf("get %s: got no error", key)
		}
		if err := b.Put(t.Context(), key, strings.NewReader("yy"), 2, true); err == nil {
			t.Errorf("put %s: got no error", key)
		}
		_ = b.Put(t.Context(), key, strings.NewReader("yy"), 2, false) // this replaces the link
		_ = b.Delete(t.Context(), key)
	}
	if got, err := os.ReadFile(secret); err != nil || string(got) != "x" {
		t.Errorf("the file outside: got %q, %v, want x", got, err)
	}
}

// All Puts together keep to the rate limit.
func TestFileRate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := openDir(t, dir, bucket.Options{Rate: 1 << 20})
		start := time.Now()
		for _, key := range []string{"a", "b"} {
			buckettest.Put(t, b, key, make([]byte, 10<<20))
		}
		if took := time.Since(start); took < 19*time.Second || took > 20*time.Second {
			t.Errorf("20 MiB at 1 MiB/s took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Put(ctx, "c", strings.NewReader(strings.Repeat("x", 10<<20)), 10<<20, false)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want that of the deadline", err)
		}
	})
}
