package replicated

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/appends"
)

// benchEntry is an entry of 200 bytes with its newline.
var benchEntry = []byte(`{"a":"` + strings.Repeat("x", 191) + "\"}\n")

// BenchmarkAppend appends to a cluster of three nodes, with several writers and several appends in
// flight.
func BenchmarkAppend(b *testing.B) {
	c := newTrio(b)
	for _, size := range []struct{ writers, flight int }{{1, 1}, {16, 1}, {64, 16}} {
		b.Run(fmt.Sprintf("%dx%d", size.writers, size.flight), func(b *testing.B) {
			l := c.gateway(b, 0, c.name())
			var left atomic.Int64
			left.Store(int64(b.N))
			var writing sync.WaitGroup
			b.ResetTimer()
			began := time.Now()
			for range size.writers {
				writing.Go(func() {
					flight := make(chan struct{}, size.flight)
					for left.Add(-1) >= 0 {
						flight <- struct{}{}
						l.Append(benchEntry, 1, always, func(_ appends.Result, err error) {
							if err != nil {
								b.Error(err)
							}
							<-flight
						})
					}
					for range size.flight {
						flight <- struct{}{}
					}
				})
			}
			writing.Wait()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "entries/s")
		})
	}
}

// BenchmarkRaw stores entries of 200 bytes in the same kind of stream without a log: one at a time, and
// in NATS's own atomic batches.
func BenchmarkRaw(b *testing.B) {
	c := newTrio(b)
	nc := c.Conn(0, Options()...)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	config := streamConfig("raw", 3)
	config.AllowAtomicPublish = true
	if _, err := js.CreateStream(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	send := func(b *testing.B, msg *nats.Msg) {
		answer, err := nc.RequestMsg(msg, 5*time.Second)
		if err != nil || strings.Contains(string(answer.Data), `"error"`) {
			b.Fatalf("%v, %s", err, answer.Data)
		}
	}
	b.Run("1x1", func(b *testing.B) {
		for range b.N {
			send(b, &nats.Msg{Subject: "raw.lane.1", Data: benchEntry})
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("batches", func(b *testing.B) {
		const size = 1000
		for n := range (b.N + size - 1) / size {
			for i := range size {
				msg := &nats.Msg{Subject: "raw.lane.1", Data: benchEntry, Header: nats.Header{
					"Nats-Batch-Id": {fmt.Sprint(b.N, n)}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)},
				}}
				if i < size-1 {
					if err := nc.PublishMsg(msg); err != nil {
						b.Fatal(err)
					}
					continue
				}
				msg.Header["Nats-Batch-Commit"] = []string{"1"}
				send(b, msg)
			}
		}
		b.ReportMetric(float64((b.N+size-1)/size*size)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkReplay reads a log of 200-byte entries through a gateway that has none of it in memory.
func BenchmarkReplay(b *testing.B) {
	c := newTrio(b)
	writer := c.gateway(b, 0, "log")
	const total = 400_000
	run := []byte(strings.Repeat(string(benchEntry), 500))
	done := make(chan error, total/500)
	for range total / 500 {
		writer.Append(run, 500, always, func(_ appends.Result, err error) { done <- err })
	}
	for range total / 500 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for i := range 2 { // through the leader's node or another
		b.Run("node "+strconv.Itoa(i), func(b *testing.B) {
			l := c.gateway(b, i, "log")
			b.ResetTimer()
			n := 0
			for range b.N {
				err := l.Read(b.Context(), 1, total, func(_ uint64, count int, _ []byte, _ int64, err error) error {
					n += count
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
