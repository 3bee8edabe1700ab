package copies

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/engine/enginetest"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/segment"
)

func openBlobs(t *testing.T, url string) *bucketblobs.Store {
	t.Helper()
	s, err := bucketblobs.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBlobs(t *testing.T) {
	url, _ := StartS3(t)
	n := 0
	enginetest.BlobStore(t, func(t *testing.T) engine.BlobStore {
		n++
		return openBlobs(t, fmt.Sprintf("%s/%d", url, n))
	})
}

// TestBlobsPerSecond logs the number of blobs of 200 bytes that the store takes and returns in a
// second, one after another and 64 at a time.
func TestBlobsPerSecond(t *testing.T) {
	url, _ := StartS3(t)
	s := openBlobs(t, url+"/speed")
	for _, atOnce := range []int{1, 64} {
		var hashes []segment.Hash
		var blobs [][]byte
		for range 100 * min(atOnce, 5) {
			blob := make([]byte, 200)
			_, _ = rand.Read(blob)
			blobs, hashes = append(blobs, blob), append(hashes, segment.Sum(blob))
		}
		for _, op := range []struct {
			name string
			call func(ctx context.Context, i int) error
		}{
			{"put", func(ctx context.Context, i int) error { _, err := s.Put(ctx, hashes[i], blobs[i]); return err }},
			{"got", func(ctx context.Context, i int) error { _, err := s.Get(ctx, hashes[i], 201); return err }},
		} {
			began := time.Now()
			var next atomic.Int64
			var running sync.WaitGroup
			for range atOnce {
				running.Go(func() {
					for i := int(next.Add(1)) - 1; i < len(blobs); i = int(next.Add(1)) - 1 {
						if err := op.call(t.Context(), i); err != nil {
							t.Error(err)
						}
					}
				})
			}
			running.Wait()
			t.Logf("%d at a time: %.0f blobs a second are %s", atOnce, float64(len(blobs))/time.Since(began).Seconds(), op.name)
		}
	}
}
