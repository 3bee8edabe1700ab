package web

import (
	"context"
	"testing"
	"time"

	"tcp-log-server/server"
)

// BenchmarkHistogram makes 100 buckets per operation, over 3,000,000 entries stored within some
// seconds. They are settled first, like all of a log except its newest part.
func BenchmarkHistogram(b *testing.B) {
	s := newBench(b)
	for range 3 {
		s.fill(999_999)
	}
	for s.log.Stats().Settled < 3_000_000 {
		time.Sleep(10 * time.Millisecond)
	}
	h := New(Config{Server: server.New(s.log, server.Config{}), Log: s.log})
	for b.Loop() {
		g, err := h.count(context.Background(), span{}, 100)
		if err != nil || g.Head != 3_000_000 || g.First != 1 {
			b.Fatal(g, err)
		}
	}
}
