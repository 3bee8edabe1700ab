package metrics

import (
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// BenchmarkBatch and BenchmarkAck measure the cost of metrics for a batch, and for a group of
// writes that arrived together, without the clock.
func BenchmarkBatch(b *testing.B) {
	e := New(Build{})
	b.ReportAllocs()
	for b.Loop() {
		e.Batch(100, 20_000, time.Millisecond)
	}
}

func BenchmarkAck(b *testing.B) {
	e := New(Build{})
	b.ReportAllocs()
	for b.Loop() {
		e.Ack(time.Millisecond)
	}
}

// BenchmarkPage is one scrape.
func BenchmarkPage(b *testing.B) {
	e := New(Build{})
	e.Show(fixed(engine.Stats{}, server.Stats{}))
	b.ReportAllocs()
	for b.Loop() {
		e.page(true)
	}
}
