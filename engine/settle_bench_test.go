package engine

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkSettle settles entries of 200 bytes, each with its own blob in a directory, that an
// earlier process has left in the segments. An operation is one entry.
func BenchmarkSettle(b *testing.B) {
	const entries = 8192
	config := NewConfig(b.TempDir())
	config.LooseMax = -1
	for b.Loop() {
		b.StopTimer()
		config.Data = b.TempDir()
		prepareUnsettled(b, config, entries)
		b.StartTimer()
		l, err := Open(config)
		if err != nil {
			b.Fatal(err)
		}
		for l.Stats().Settled < entries {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}

// prepareUnsettled makes a log with entries that are only in segments.
func prepareUnsettled(b *testing.B, config Config, entries int) {
	b.Helper()
	config.SettleEvery = time.Hour
	l, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	var run []byte
	for i := range entries {
		run = fmt.Appendf(run, "{\"n\":%08d,\"note\":\"%0170d\"}\n", 10000000+i, i)
	}
	done := make(chan error, 1)
	l.Append(run, entries, Condition{}, func(_ Result, err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	l.Refuse()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
