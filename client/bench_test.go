package client_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/client"
)

// BenchmarkAppend appends entries of 200 bytes over connections with several goroutines
// each.
func BenchmarkAppend(b *testing.B) {
	for _, shape := range [][2]int{{1, 1}, {1, 16}, {16, 16}, {1, 256}} {
		b.Run(fmt.Sprintf("%dx%d", shape[0], shape[1]), func(b *testing.B) {
			h := serve(b)
			entry := []byte(`{"pad":"` + strings.Repeat("x", 190) + `"}`)
			var clients []*client.Client
			for range shape[0] {
				clients = append(clients, dial(b, h.addr, client.Options{}))
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, c := range clients {
				for j := range shape[1] {
					lane := i*shape[1] + j
					wg.Go(func() {
						for n := lane; n < b.N; n += shape[0] * shape[1] {
							if _, err := c.Append(context.Background(), entry); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
			}
			wg.Wait()
		})
	}
}

// BenchmarkFollow reads history of entries of 200 bytes.
func BenchmarkFollow(b *testing.B) {
	h := serve(b)
	c := dial(b, h.addr, client.Options{})
	entry := []byte(`{"pad":"` + strings.Repeat("x", 190) + `"}`)
	var wg sync.WaitGroup
	for range b.N {
		wg.Add(1)
		if err := c.AppendAsync(context.Background(), entry, func(uint64, error) { wg.Done() }); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for _, err := range c.Follow(context.Background(), 1) {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n == b.N {
			break
		}
	}
}
