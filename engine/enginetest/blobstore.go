// Package enginetest tests implementations of interfaces of package engine.
package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// BlobStore tests that a store keeps the contract of engine.BlobStore, and of engine.BlobMarker if it
// implements that. open returns a store without blobs and without a mark, a different one each time; it may
// use t's Cleanup. Each test is a subtest, so that -run finds it.
//
// No test from outside can tell whether a blob survives a loss of power after Sync: the implementation must
// ensure that.
func BlobStore(t *testing.T, open func(t *testing.T) engine.BlobStore) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s engine.BlobStore)
	}{
		{"Empty", testEmpty},
		{"PutThenGet", testPutThenGet},
		{"PutAgain", testPutAgain},
		{"ManyAtOnce", testManyAtOnce},
		{"Memory", testMemory},
		{"Limit", testLimit},
		{"List", testList},
		{"ListStops", testListStops},
		{"Cancelled", testCancelled},
		{"Mark", testMark},
		{"Log", testLog},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// content returns size random-looking bytes that depend on seed.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func put(t *testing.T, s engine.BlobStore, blob []byte) (hash engine.Hash, created bool) {
	t.Helper()
	hash = segment.Sum(blob)
	created, err := s.Put(t.Context(), hash, blob)
	if err != nil {
		t.Fatalf("put %d bytes: %v", len(blob), err)
	}
	return hash, created
}

func syncAll(t *testing.T, s engine.BlobStore) {
	t.Helper()
	if err := s.Sync(t.Context()); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

// has fails the test unless the store has the blob, however it is asked.
func has(t *testing.T, s engine.BlobStore, blob []byte) {
	t.Helper()
	hash := segment.Sum(blob)
	got, err := s.Get(t.Context(), hash, int64(len(blob))+1)
	if err != nil || !bytes.Equal(got, blob) {
		t.Errorf("get a blob of %d bytes: %d bytes, %v", len(blob), len(got), err)
	}
	if there, err := s.Has(t.Context(), hash); err != nil || !there {
		t.Errorf("has a blob of %d bytes: %v, %v", len(blob), there, err)
	}
}

// list returns the hashes that List passes to its function.
func list(t *testing.T, s engine.BlobStore, prefix string) []string {
	t.Helper()
	hashes := []string{}
	err := s.List(t.Context(), prefix, func(b engine.BlobInfo) error {
		hashes = append(hashes, b.Hash.String())
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return hashes
}

func testEmpty(t *testing.T, s engine.BlobStore) {
	hash := segment.Sum([]byte("nothing"))
	_, err := s.Get(t.Context(), hash, 100)
	if !errors.Is(err, engine.ErrNotFound) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrDamaged) {
		t.Errorf("get a blob that is not there: %v, want an error that wraps ErrNotFound and no other", err)
	}
	if there, err := s.Has(t.Context(), hash); there || err != nil {
		t.Errorf("has a blob that is not there: %v, %v", there, err)
	}
	if found := list(t, s, ""); len(found) > 0 {
		t.Errorf("an empty store lists %q", found)
	}
	syncAll(t, s)
	if s.String() == "" {
		t.Error("the store has no name")
	}
}

func testPutThenGet(t *testing.T, s engine.BlobStore) {
	var blobs [][]byte
	for i, size := range []int{0, 1, 200, 64 << 10, 5 << 20} {
		blobs = append(blobs, content(uint64(i), size))
		if _, created := put(t, s, blobs[i]); !created {
			t.Errorf("a new blob of %d bytes was there already", size)
		}
		has(t, s, blobs[i]) // before the sync too
	}
	for range 2 {
		syncAll(t, s)
		for _, blob := range blobs {
			has(t, s, blob)
		}
	}
}

func testPutAgain(t *testing.T, s engine.BlobStore) {
	blob := content(1, 1000)
	put(t, s, blob)
	for range 2 {
		if _, created := put(t, s, blob); created {
			t.Error("a blob that is there was created again")
		}
		syncAll(t, s)
		has(t, s, blob)
	}
	if n := len(list(t, s, "")); n != 1 {
		t.Errorf("the store lists %d blobs, want 1", n)
	}
}

// testManyAtOnce: several goroutines put each blob at once, while others read and list.
func testManyAtOnce(t *testing.T, s engine.BlobStore) {
	const blobs, writers = 40, 4
	var created [blobs]atomic.Int32
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range blobs {
				i = (i + w) % blobs
				blob := content(uint64(i), 100+i)
				made, err := s.Put(t.Context(), segment.Sum(blob), blob)
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				if made {
					created[i].Add(1)
				}
				if got, err := s.Get(t.Context(), segment.Sum(blob), int64(len(blob))+1); err != nil || !bytes.Equal(got, blob) {
					t.Errorf("get a blob that has just been put: %d bytes, %v", len(got), err)
				}
				if i%10 == 0 {
					if err := s.Sync(t.Context()); err != nil {
						t.Errorf("sync: %v", err)
					}
					if err := s.List(t.Context(), "", func(engine.BlobInfo) error { return nil }); err != nil {
						t.Errorf("list: %v", err)
					}
				}
			}
		})
	}
	work.Wait()
	for i := range created {
		if created[i].Load() == 0 {
			t.Errorf("nobody created blob %d", i)
		}
		has(t, s, content(uint64(i), 100+i))
	}
	if n := len(list(t, s, "")); n != blobs {
		t.Errorf("the store lists %d blobs, want %d", n, blobs)
	}
}

// testMemory: the caller and the store do not share bytes.
func testMemory(t *testing.T, s engine.BlobStore) {
	blob := content(1, 1000)
	hash := segment.Sum(blob)
	mine := bytes.Clone(blob)
	if _, err := s.Put(t.Context(), hash, mine); err != nil {
		t.Fatal(err)
	}
	clear(mine)
	syncAll(t, s)
	got, err := s.Get(t.Context(), hash, 1001)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	has(t, s, blob)
}

func testLimit(t *testing.T, s engine.BlobStore) {
	blob := content(1, 10_000)
	hash, _ := put(t, s, blob)
	for _, limit := range []int64{1, 100, 9_999, 10_000, 10_001, 1 << 30} {
		got, err := s.Get(t.Context(), hash, limit)
		if err != nil || int64(len(got)) < min(limit, 10_000) || !bytes.HasPrefix(blob, got) {
			t.Errorf("get with a limit of %d: %d bytes, %v", limit, len(got), err)
		}
	}
}

func testList(t *testing.T, s engine.BlobStore) {
	sizes := map[string]int64{}
	var all []string
	for i := range 300 {
		blob := content(uint64(i), i)
		hash, _ := put(t, s, blob)
		sizes[hash.String()] = int64(i)
		all = append(all, hash.String())
	}
	slices.Sort(all)
	for _, prefix := range []string{"", all[0][:1], all[7][:2], all[100][:3], all[200][:9], all[299], "f", "00000000"} {
		var want []string
		for _, hash := range all {
			if strings.HasPrefix(hash, prefix) {
				want = append(want, hash)
			}
		}
		if got := list(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %d blobs, want %d in ascending order", prefix, len(got), len(want))
		}
	}
	err := s.List(t.Context(), "", func(b engine.BlobInfo) error {
		if want := sizes[b.Hash.String()]; b.Size != want {
			t.Errorf("listed with %d bytes, want %d", b.Size, want)
		}
		if !b.Modified.IsZero() && time.Since(b.Modified).Abs() > 24*time.Hour {
			t.Errorf("stored at %v, want now, or no time", b.Modified)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testListStops(t *testing.T, s engine.BlobStore) {
	for i := range 10 {
		put(t, s, content(uint64(i), 10))
	}
	stop, calls := errors.New("stop"), 0
	err := s.List(t.Context(), "", func(engine.BlobInfo) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("list with a function that fails: %v after %d calls, want its error after 1", err, calls)
	}
}

// testCancelled: no call goes on after its context has ended; what it returns is not checked.
func testCancelled(t *testing.T, s engine.BlobStore) {
	blob := content(1, 100)
	hash, _ := put(t, s, blob)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.Put(ctx, segment.Sum(nil), nil)
		_ = s.Sync(ctx)
		_, _ = s.Get(ctx, hash, 101)
		_, _ = s.Has(ctx, hash)
		_ = s.List(ctx, "", func(engine.BlobInfo) error { return nil })
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("calls whose context has ended have not returned after 10 s")
	}
	has(t, s, blob)
}

func testMark(t *testing.T, s engine.BlobStore) {
	marker, ok := s.(engine.BlobMarker)
	if !ok {
		t.Skip("the store is no engine.BlobMarker")
	}
	if id, ok, err := marker.FindMark(t.Context()); ok || err != nil {
		t.Fatalf("a new store is marked: %s, %v", id, err)
	}
	id := engine.StoreID{1, 2, 3}
	for range 2 {
		if err := marker.Mark(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if found, ok, err := marker.FindMark(t.Context()); found != id || !ok || err != nil {
			t.Errorf("found mark %s, %v, %v, want %s", found, ok, err, id)
		}
	}
	if found := list(t, s, ""); len(found) > 0 {
		t.Errorf("the mark is listed as the blob %q", found)
	}
}

// testLog: a log settles into the store, removes its segments, and is read from the store, also after it has
// been reopened.
func testLog(t *testing.T, s engine.BlobStore) {
	const entries = 200
	config := engine.NewConfig(filepath.Join(t.TempDir(), "data"))
	config.BlobStore, config.SegmentSize, config.RemoveAfter, config.SettleEvery = s, 1<<10, 0, time.Millisecond
	entry := func(i uint64) string { return fmt.Sprintf(`{"n":%d}`+"\n", i) }
	for round := range 2 {
		l, err := engine.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(1); round == 0 && i <= entries; i += 4 {
			stored := make(chan error, 1)
			l.Append([]byte(entry(i)+entry(i+1)+entry(i+2)+entry(i+3)), 4, engine.Condition{}, func(_ engine.Result, err error) { stored <- err })
			if err := <-stored; err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(time.Minute); l.Stats().Settled < entries || l.Stats().First < entries/2; {
			if time.Now().After(deadline) {
				t.Fatalf("after a minute: %+v", l.Stats())
			}
			time.Sleep(time.Millisecond)
		}
		next := uint64(1)
		err = l.Read(t.Context(), 1, entries, func(first uint64, count int, lines []byte, _ int64, err error) error {
			for range count {
				if want := entry(next); err != nil || !bytes.HasPrefix(lines, []byte(want)) {
					return fmt.Errorf("entry %d is not as it was: %w", next, err)
				}
				lines = lines[len(entry(next)):]
				next++
			}
			return nil
		})
		if err != nil || next != entries+1 {
			t.Errorf("round %d: read through %d: %v", round, next-1, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(list(t, s, "")); n != entries {
		t.Errorf("the store lists %d blobs, want %d", n, entries)
	}
}
