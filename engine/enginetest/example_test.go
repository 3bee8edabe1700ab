package enginetest_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/engine/enginetest"
)

// counted is a custom store of blobs: here one in memory that counts its puts.
type counted struct {
	enginetest.Blobs
	puts atomic.Int64 // several are under way at a time
}

func (c *counted) Put(ctx context.Context, hash engine.Hash, blob []byte) (created bool, err error) {
	c.puts.Add(1)
	return c.Blobs.Put(ctx, hash, blob)
}

// A log that keeps its blobs in the program's own store.
func Example() {
	dir, err := os.MkdirTemp("", "log-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store := new(counted)
	config := engine.NewConfig(dir)
	config.BlobStore, config.SettleEvery = store, time.Millisecond
	log, err := engine.Open(config)
	if err != nil {
		panic(err)
	}
	done := make(chan error, 1)
	log.Append([]byte("{\"a\":1}\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		panic(err)
	}
	if err := log.Close(); err != nil { // this settles the rest
		panic(err)
	}
	_ = store.List(context.Background(), "", func(b engine.BlobInfo) error {
		fmt.Println(store.puts.Load(), "put:", b.Hash, "with", b.Size, "bytes")
		return nil
	})
	// Output:
	// 1 put: d59b6562d7c9b121bc9760873d787890ef4d429aad33a70b405baa0fa08a1f53 with 7 bytes
}
