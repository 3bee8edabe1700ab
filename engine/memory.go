package engine

import (
	"context"
	"crypto/rand"
	"sort"
	"sync"
	"time"

	"tcp-log-server/segment"
)

// memory is the store of a log that ends with the process.
type memory struct {
	id      segment.StoreID
	mu      sync.RWMutex
	batches []memoryBatch
	last    uint64
}

// newMemory returns an empty log with this id, or a random one if it is zero.
func newMemory(id segment.StoreID) *memory {
	if id == (segment.StoreID{}) {
		_, _ = rand.Read(id[:]) // never fails
	}
	return &memory{id: id}
}

type memoryBatch struct {
	first   uint64
	count   int
	entries []byte
	time    int64
}

func (m *memory) commit(batch []byte, count int, now time.Time) error {
	entries := append([]byte(nil), batch[segment.BatchHeaderSize:]...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches = append(m.batches, memoryBatch{first: m.last + 1, count: count, entries: entries, time: now.UnixMicro()})
	m.last += uint64(count)
	return nil
}

func (m *memory) commitAll(batches []byte, specs []segment.BatchSpec) (n int, err error) {
	for _, s := range specs {
		size := segment.BatchHeaderSize + s.Size
		if err := m.commit(batches[:size], s.Count, time.UnixMicro(s.Time)); err != nil {
			return n, err
		}
		batches = batches[size:]
		n++
	}
	return n, nil
}

func (m *memory) due() bool { return false }

func (m *memory) prepare() {}

func (m *memory) prove() error { return nil }

func (m *memory) read(ctx context.Context, from, through uint64, fn ReadFunc) error {
	m.mu.RLock()
	batches := m.batches
	m.mu.RUnlock()
	// The batch that holds from is the last one that does not begin after it.
	at := sort.Search(len(batches), func(i int) bool { return batches[i].first > from }) - 1
	for ; from <= through; at++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := batches[at]
		var lost error
		if len(b.entries) == 0 {
			lost = ErrLost
		}
		first, count, entries := clip(b.first, b.count, b.entries, from, through)
		if err := fn(first, count, entries, b.time, lost); err != nil {
			return err
		}
		from = first + uint64(count)
	}
	return nil
}

func (m *memory) stats(*Stats) {}

func (m *memory) name() segment.StoreID { return m.id }

func (m *memory) near() uint64 { return 1 }

func (m *memory) close() error { return nil }
