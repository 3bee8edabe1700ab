package replicated

import (
	"crypto/rand"
	"fmt"
	"net"
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

// BenchmarkReplay reads a log of 200-byte entries in messages of 500 or of one, through a gateway that has
// none of it in memory. The gateway is on a node of the cluster, or so far from it that bytes take 0.5 ms
// each way.
func BenchmarkReplay(b *testing.B) {
	c := newTrio(b)
	for _, size := range []int{500, 1} {
		total := 2000 * size / max(1, size/200)
		stream := c.name()
		writer := c.gateway(b, 0, stream)
		var run []byte
		for range size {
			run = fmt.Appendf(run, `{"a":"%x%x%x"}`+"\n", rand.Text(), rand.Text(), rand.Text())
		}
		for range total / size {
			done := make(chan error, 1)
			writer.Append(run, size, always, func(_ appends.Result, err error) { done <- err })
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		for _, delay := range []time.Duration{0, 500 * time.Microsecond} {
			b.Run(fmt.Sprintf("%d, %v away", size, delay), func(b *testing.B) {
				l := c.gateway(b, 1, stream, func(config *Config) {
					config.Conn = c.Conn(1, append(Options(), nats.InProcessServer(far{c.Node(1), delay}))...)
				})
				l.counter.mu.Lock()
				l.counter.recent = nil
				l.counter.mu.Unlock()
				b.ResetTimer()
				n := 0
				for range b.N {
					err := l.Read(b.Context(), 1, uint64(total), func(_ uint64, count int, _ []byte, _ int64, err error) error {
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
}

// far is a server that is some time away, each way.
type far struct {
	nats.InProcessConnProvider
	delay time.Duration
}

func (f far) InProcessConn() (net.Conn, error) {
	near, err := f.InProcessConnProvider.InProcessConn()
	if err != nil || f.delay == 0 {
		return near, err
	}
	ours, theirs := net.Pipe()
	go f.carry(near, theirs)
	go f.carry(theirs, near)
	return ours, nil
}

// carry passes what comes from one connection to the other, later.
func (f far) carry(from, to net.Conn) {
	type piece struct {
		at   time.Time
		data []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.data); err != nil {
				from.Close() // and then the pieces end
			}
		}
		to.Close()
	}()
	defer close(pieces)
	for {
		data := make([]byte, 64<<10)
		n, err := from.Read(data)
		if err != nil {
			return
		}
		pieces <- piece{time.Now().Add(f.delay), data[:n]}
	}
}
