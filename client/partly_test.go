package client_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/client"
)

// TestPartlyWritten: if the connection takes only a part of an append, it waits no longer
// than its context; the rest of it is still written, as soon as possible, before later
// appends.
func TestPartlyWritten(t *testing.T) {
	noLeaks(t)
	begun, read := make(chan struct{}), make(chan struct{})
	large := `["` + strings.Repeat("x", 16<<20) + `"]`
	addr := peer(t, func(p *conversation) {
		p.r.Peek(1)
		close(begun)
		<-read
		if p.want(`{"id":"0","entry":`+large+`}`, `{"id":"1","entry":[1]}`) {
			p.say(`{"id":"0","index":1}`, `{"id":"1","index":2}`)
		}
		p.rest()
	})
	c := dial(t, addr, client.Options{MaxInFlight: 64 << 20})
	ctx, cancel := context.WithCancel(patient(t))
	first := make(chan error)
	go func() {
		_, err := c.Append(ctx, []byte(large))
		first <- err
	}()
	<-begun
	second := make(chan uint64)
	go func() {
		index, err := c.Append(patient(t), []byte("[1]"))
		outcome(t, err, nil)
		second <- index
	}()
	cancel()
	outcome(t, <-first, client.ErrUnknown)
	close(read)
	if index := <-second; index != 2 {
		t.Errorf("index is %d, want 2", index)
	}
}

// TestAllSizes: appends of all sizes, by many goroutines over one connection, are each
// stored once.
func TestAllSizes(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := dial(t, h.addr, client.Options{})
	const goroutines, each = 16, 40
	entries := make([]string, goroutines*each+1) // by index
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := range each {
				entry := fmt.Sprintf(`{"g":%d,"n":%d,"pad":"%s"}`, g, n, strings.Repeat("x", (g*each+n)%23*(g*each+n)%29*1000))
				index, err := c.Append(patient(t), []byte(entry))
				outcome(t, err, nil)
				mu.Lock()
				if index == 0 || index >= uint64(len(entries)) || entries[index] != "" {
					t.Errorf("index is %d, which another has", index)
				} else {
					entries[index] = entry
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	index := uint64(0)
	for e, err := range c.Read(patient(t), 1, goroutines*each) {
		if err != nil {
			t.Fatal(err)
		}
		if index++; e.Index != index || string(e.Value) != entries[index] {
			t.Fatalf("index %d is %.50s…, want %.50s…", e.Index, e.Value, entries[index])
		}
	}
	if index != goroutines*each {
		t.Errorf("read %d entries, want %d", index, goroutines*each)
	}
}
