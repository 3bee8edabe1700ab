// Package buckettest tests implementations of bucket.Bucket, and simulates failing services.
package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tcp-log-server/internal/bucket"
)

// Run tests that buckets keep the contract of bucket.Bucket. open returns an empty one. large is
// the size of an object that takes several requests, if the bucket splits objects at all.
func Run(t *testing.T, large int, open func(t *testing.T) bucket.Bucket) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b bucket.Bucket)
	}{
		{"PutThenGet", testPutThenGet},
		{"Large", func(t *testing.T, b bucket.Bucket) { testLarge(t, b, large) }},
		{"Ranges", testRanges},
		{"NotFound", testNotFound},
		{"Create", testCreate},
		{"CreateOnce", testCreateOnce},
		{"Replace", testReplace},
		{"Stat", testStat},
		{"List", testList},
		{"ListMany", testListMany},
		{"Delete", testDelete},
		{"Keys", testKeys},
		{"ShortContent", testShortContent},
		{"Cancelled", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Put stores content under key, and fails the test on an error.
func Put(t testing.TB, b bucket.Bucket, key string, content []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(content), int64(len(content)), false); err != nil {
		t.Fatal(err)
	}
}

// Get returns the object's content, and fails the test on an error.
func Get(t testing.TB, b bucket.Bucket, key string) []byte {
	t.Helper()
	content, err := read(t.Context(), b, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// List returns the keys, and fails the test on an error.
func List(t testing.TB, b bucket.Bucket, prefix, after string) []string {
	t.Helper()
	keys := []string{}
	err := b.List(t.Context(), prefix, after, func(o bucket.Object) error {
		keys = append(keys, o.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Content returns size pseudo-random bytes that depend on seed.
func Content(seed uint64, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	content := make([]byte, size)
	_, _ = r.Read(content)
	return content
}

func read(ctx context.Context, b bucket.Bucket, key string, offset, length int64) ([]byte, error) {
	r, err := b.Get(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// same fails the test if got differs from want. It prints neither.
func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, want %d, and they differ", len(got), len(want))
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func wantKeys(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got keys %q, want %q", got, want)
	}
}

func testPutThenGet(t *testing.T, b bucket.Bucket) {
	for _, size := range []int{0, 1, 1000, 300 << 10} {
		key := fmt.Sprintf("some/where/%d", size)
		Put(t, b, key, Content(1, size))
		same(t, Get(t, b, key), Content(1, size))
	}
}

func testLarge(t *testing.T, b bucket.Bucket, size int) {
	content := Content(2, size)
	Put(t, b, "large", content)
	same(t, Get(t, b, "large"), content)
	err := b.Put(t.Context(), "large", bytes.NewReader(content[1:]), int64(size-1), true)
	wantError(t, err, bucket.ErrExists)
	same(t, Get(t, b, "large"), content)
	if err := b.Put(t.Context(), "new", bytes.NewReader(content[1:]), int64(size-1), true); err != nil {
		t.Fatal(err)
	}
	same(t, Get(t, b, "new"), content[1:])
}

func testRanges(t *testing.T, b bucket.Bucket) {
	content := Content(3, 100_000)
	Put(t, b, "ranges", content)
	for _, r := range []struct{ offset, length int }{
		{0, 0}, {0, 1}, {0, 100_000}, {50_000, 1}, {99_999, 1}, {100_000, 0}, {40_000, 20_000}, {99_000, -1}, {100_000, -1},
	} {
		got, err := read(t.Context(), b, "ranges", int64(r.offset), int64(r.length))
		if err != nil {
			t.Fatalf("%d bytes from %d on: %v", r.length, r.offset, err)
		}
		if r.length < 0 {
			r.length = len(content) - r.offset
		}
		same(t, got, content[r.offset:r.offset+r.length])
	}
	for _, r := range []struct{ offset, length int }{{0, 100_001}, {99_999, 2}, {100_000, 1}, {100_001, 0}, {100_001, -1}, {200_000, 5}} {
		if got, err := read(t.Context(), b, "ranges", int64(r.offset), int64(r.length)); err == nil {
			t.Errorf("%d bytes from %d on of an object of %d: got %d and no error", r.length, r.offset, len(content), len(got))
		}
	}
}

func testNotFound(t *testing.T, b bucket.Bucket) {
	Put(t, b, "a/b", []byte("x"))
	for _, key := range []string{"b", "a", "a/b/c", "a/c"} {
		_, err := read(t.Context(), b, key, 0, -1)
		wantError(t, err, bucket.ErrNotFound)
		_, err = read(t.Context(), b, key, 5, 10)
		wantError(t, err, bucket.ErrNotFound)
		_, err = b.Stat(t.Context(), key)
		wantError(t, err, bucket.ErrNotFound)
	}
}

func testCreate(t *testing.T, b bucket.Bucket) {
	put := func(content string) error {
		return b.Put(t.Context(), "owner/1", strings.NewReader(content), int64(len(content)), true)
	}
	if err := put("first"); err != nil {
		t.Fatal(err)
	}
	wantError(t, put("second"), bucket.ErrExists)
	wantError(t, put("first"), bucket.ErrExists) // even with the same content, the object is another's
	same(t, Get(t, b, "owner/1"), []byte("first"))
	if err := b.Delete(t.Context(), "owner/1"); err != nil {
		t.Fatal(err)
	}
	if err := put("third"); err != nil {
		t.Fatal(err)
	}
}

func testCreateOnce(t *testing.T, b bucket.Bucket) {
	const writers = 8
	for round := range 5 {
		key := fmt.Sprintf("once/%d", round)
		var wg sync.WaitGroup
		var won atomic.Pointer[string]
		var wins atomic.Int64
		for i := range writers {
			wg.Go(func() {
				content := strings.Repeat(fmt.Sprint(i), 1+i*1000)
				err := b.Put(t.Context(), key, strings.NewReader(content), int64(len(content)), true)
				switch {
				case err == nil:
					wins.Add(1)
					won.Store(&content)
				case !errors.Is(err, bucket.ErrExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d of %d writers made the object, want 1", wins.Load(), writers)
		}
		same(t, Get(t, b, key), []byte(*won.Load()))
	}
}

func testReplace(t *testing.T, b bucket.Bucket) {
	for _, content := range []string{"first, which is longer", "second", ""} {
		Put(t, b, "log.json", []byte(content))
		same(t, Get(t, b, "log.json"), []byte(content))
	}
	wantKeys(t, List(t, b, "", ""), []string{"log.json"})
}

func testStat(t *testing.T, b bucket.Bucket) {
	Put(t, b, "stat/it", make([]byte, 1234))
	o, err := b.Stat(t.Context(), "stat/it")
	if err != nil || o.Key != "stat/it" || o.Size != 1234 || o.Modified.IsZero() {
		t.Fatalf("got %+v, %v, want stat/it of 1234 bytes", o, err)
	}
}

func testList(t *testing.T, b bucket.Bucket) {
	wantKeys(t, List(t, b, "", ""), []string{})
	all := []string{"a", "b-c", "b.c", "b/a/a", "b/a/b", "b/b", "b0", "bc/d", "c"}
	for _, key := range slices.Backward(all) {
		Put(t, b, key, []byte(key))
	}
	for _, test := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", all},
		{"b", "", all[1:8]},
		{"b/", "", all[3:6]},
		{"b/a", "", all[3:5]},
		{"b/a/", "b/a/a", all[4:5]},
		{"", "b/a/a", all[4:]},
		{"", "b/a", all[3:]},
		{"", "b/a0", all[5:]},
		{"b/", "b/zzz", nil},
		{"b/", "a", all[3:6]},
		{"a/", "", nil}, // a is an object
		{"nothing/", "", nil},
		{"", "c", nil},
		{"b0", "", all[6:7]},
	} {
		if got := List(t, b, test.prefix, test.after); !slices.Equal(got, test.want) {
			t.Errorf("prefix %q after %q: got %q, want %q", test.prefix, test.after, got, test.want)
		}
	}
	stop := errors.New("stop")
	n := 0
	err := b.List(t.Context(), "", "", func(o bucket.Object) error {
		if o.Size != int64(len(o.Key)) || o.Modified.IsZero() {
			t.Errorf("got %+v, want its size to be %d", o, len(o.Key))
		}
		n++
		if n == 2 {
			return stop
		}
		return nil
	})
	if err != stop || n != 2 {
		t.Errorf("got error %v after %d objects, want that of the function after 2", err, n)
	}
}

func testListMany(t *testing.T, b bucket.Bucket) {
	const n = 2100 // more than an S3 service puts into one answer
	var want []string
	var wg sync.WaitGroup
	for i := range n {
		want = append(want, fmt.Sprintf("many/%020d.seg", i))
	}
	const writers = 8
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				if err := b.Put(t.Context(), want[i], strings.NewReader("x"), 1, false); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantKeys(t, List(t, b, "many/", ""), want)
	wantKeys(t, List(t, b, "many/", want[1500]), want[1501:])
}

func testDelete(t *testing.T, b bucket.Bucket) {
	Put(t, b, "a/b", []byte("x"))
	for range 2 {
		if err := b.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), "never/was"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Stat(t.Context(), "a/b")
	wantError(t, err, bucket.ErrNotFound)
	wantKeys(t, List(t, b, "", ""), []string{})
	Put(t, b, "a/b", []byte("y"))
}

func testKeys(t *testing.T, b bucket.Bucket) {
	long := strings.Repeat("e", 255)
	Put(t, b, long+"/"+long, []byte("x"))
	same(t, Get(t, b, long+"/"+long), []byte("x"))
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", ".a", "a/.b", "a\\b", "a b", "a\x00", "ä",
		"a:b", "a%2Fb", "a+b", "a\n", long + "e", strings.Repeat("a/", 256) + "a"} {
		if err := b.Put(t.Context(), key, strings.NewReader("x"), 1, false); err == nil {
			t.Errorf("put %q: got no error", key)
		}
		if _, err := read(t.Context(), b, key, 0, -1); err == nil {
			t.Errorf("get %q: got no error", key)
		}
		if _, err := b.Stat(t.Context(), key); err == nil {
			t.Errorf("stat %q: got no error", key)
		}
		if err := b.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %q: got no error", key)
		}
	}
	wantKeys(t, List(t, b, "", ""), []string{long + "/" + long})
	wantKeys(t, List(t, b, "../", ""), []string{})
}

func testShortContent(t *testing.T, b bucket.Bucket) {
	for _, size := range []int64{4, 400 << 10} {
		if err := b.Put(t.Context(), "short", strings.NewReader("abc"), size, false); err == nil {
			t.Errorf("put %d bytes of a content of 3: got no error", size)
		}
	}
	wantKeys(t, List(t, b, "", ""), []string{})
}

func testCancelled(t *testing.T, b bucket.Bucket) {
	Put(t, b, "a", Content(4, 100_000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, b.Put(ctx, "b", strings.NewReader("x"), 1, false), context.Canceled)
	_, err := b.Get(ctx, "a", 0, -1)
	wantError(t, err, context.Canceled)
	_, err = b.Stat(ctx, "a")
	wantError(t, err, context.Canceled)
	wantError(t, b.Delete(ctx, "a"), context.Canceled)
	wantError(t, b.List(ctx, "", "", func(bucket.Object) error { return nil }), context.Canceled)
	wantKeys(t, List(t, b, "", ""), []string{"a"})
}
