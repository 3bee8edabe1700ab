package engine

import (
	"bytes"
	"fmt"
	"testing"
)

// run200 is a run of entries of 200 bytes.
func run200(count int) []byte {
	entry := fmt.Appendf(nil, "{\"note\":\"%s\"}\n", bytes.Repeat([]byte("x"), 189))
	return bytes.Repeat(entry, count)
}

// BenchmarkAppend appends to a log in memory: the cost of the engine without a disk.
func BenchmarkAppend(b *testing.B) {
	for _, count := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d", count), func(b *testing.B) {
			l, err := Open(NewConfig(Memory))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			run := run200(count)
			done := make(chan error, 1)
			b.SetBytes(int64(len(run)))
			b.ReportAllocs()
			for b.Loop() {
				l.Append(run, count, Condition{}, func(_ Result, err error) { done <- err })
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead reads a log on disk from its beginning, verifying it.
func BenchmarkRead(b *testing.B) {
	config := NewConfig(b.TempDir())
	config.LooseMax = 0
	l, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const batches, count = 100, 1000
	done := make(chan error, batches)
	for range batches {
		l.Append(run200(count), count, Condition{}, func(_ Result, err error) { done <- err })
	}
	for range batches {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(batches * len(run200(count))))
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		err := l.Read(b.Context(), 1, batches*count, func(_ uint64, n int, _ []byte, _ int64, err error) error {
			got += n
			return err
		})
		if err != nil || got != batches*count {
			b.Fatalf("read %d entries: %v", got, err)
		}
	}
}
