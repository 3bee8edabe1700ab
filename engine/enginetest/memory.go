package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"tcp-log-server/engine"
)

// Blobs is an engine.BlobStore in memory: the shortest possible one, to read and to test
// with. A log in a directory must not use it except in tests, since the log removes segments
// whose entries are all in blobs, and these end with the process.
type Blobs struct {
	mu    sync.RWMutex
	blobs map[engine.Hash][]byte
}

// Put puts a blob.
func (b *Blobs) Put(_ context.Context, hash engine.Hash, blob []byte) (created bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == nil {
		b.blobs = make(map[engine.Hash][]byte)
	}
	_, there := b.blobs[hash]
	b.blobs[hash] = bytes.Clone(blob)
	return !there, nil
}

// Sync has nothing to do.
func (b *Blobs) Sync(context.Context) error { return nil }

// Get gets a blob, all of it.
func (b *Blobs) Get(_ context.Context, hash engine.Hash, _ int64) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	blob, there := b.blobs[hash]
	if !there {
		return nil, fmt.Errorf("%w: blob %s", engine.ErrNotFound, hash)
	}
	return bytes.Clone(blob), nil
}

// Has reports whether there is a blob.
func (b *Blobs) Has(_ context.Context, hash engine.Hash) (bool, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, there := b.blobs[hash]
	return there, nil
}

// List lists the blobs.
func (b *Blobs) List(ctx context.Context, prefix string, fn func(engine.BlobInfo) error) error {
	b.mu.RLock()
	var found []engine.BlobInfo
	for hash, blob := range b.blobs {
		if strings.HasPrefix(hash.String(), prefix) {
			found = append(found, engine.BlobInfo{Hash: hash, Size: int64(len(blob))})
		}
	}
	b.mu.RUnlock()
	slices.SortFunc(found, func(x, y engine.BlobInfo) int { return bytes.Compare(x.Hash[:], y.Hash[:]) })
	for _, info := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// String is "memory".
func (b *Blobs) String() string { return engine.Memory }
