package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestFollowersSeeIdenticalBytes(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	const followers, entries = 50, 2000
	var want bytes.Buffer
	want.WriteString(current + "\n")
	for n := 1; n <= entries; n++ {
		want.WriteString(entry(n, n) + "\n")
	}
	done := make(chan error, followers)
	var clients []*client
	for range followers {
		c := h.dial()
		clients = append(clients, c)
		c.send(`{"from":1}`)
		if _, err := c.r.Peek(len(current) + 1); err != nil {
			t.Fatal(err)
		}
		go func() {
			got := make([]byte, want.Len())
			_, err := io.ReadFull(c.r, got)
			if err == nil && !bytes.Equal(got, want.Bytes()) {
				err = errors.New("other bytes than expected")
			}
			done <- err
		}()
	}
	writer := h.dial()
	clients = append(clients, writer)
	go func() {
		for n := 1; n <= entries; {
			count := min(1+n%37, entries+1-n)
			writer.append(n, count)
			n += count
		}
	}()
	for n := 1; n <= entries; n++ {
		writer.want(ack(n, n))
	}
	for range followers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// Once all followers are gone, the cache is dropped.
	for _, c := range clients {
		c.nc.Close()
	}
	h.shutdown()
	if h.tail.followers != 0 || h.tail.size != 0 || h.tail.blocks != nil {
		t.Errorf("after the last follower %d are counted and %d bytes kept", h.tail.followers, h.tail.size)
	}
}

// Followers at different distances from the head, some of them further than a small cache
// reaches, each see every entry once and in order.
func TestFollowersAtDifferentDistances(t *testing.T) {
	noLeaks(t)
	log := openFake(t)
	h := start(t, log, Config{TailCache: 200 << 10})
	const entries = 3000
	pad := strings.Repeat("y", 1000)
	line := func(n int) string { return fmt.Sprintf(`{"index":%d,"entry":{"n":%d,"pad":"%s"}}`, n, n, pad) }
	followers := make([]*client, 6)
	for i := range followers {
		followers[i] = h.dial()
		followers[i].send(fmt.Sprintf(`{"from":%d}`, i+1))
		followers[i].want(current)
	}
	next := make([]int, len(followers))
	for i := range next {
		next[i] = i + 1
	}
	for n := 1; n <= entries; n += 50 {
		var run []string
		for i := n; i < n+50; i++ {
			run = append(run, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
		}
		put(t, log, run...)
		// The last follower takes nothing until the end, the others at their own pace.
		for i, c := range followers[:len(followers)-1] {
			for pace := 20 + 10*i; pace > 0 && next[i] < n+50; pace-- {
				c.want(line(next[i]))
				next[i]++
			}
		}
	}
	for i, c := range followers {
		for ; next[i] <= entries; next[i]++ {
			c.want(line(next[i]))
		}
	}
}

func TestTailKeepsToItsSize(t *testing.T) {
	log := newFakeLog()
	log.run = 10
	const size = 64 << 10
	tail := tail{log: log, max: size}
	tail.join()
	pad := strings.Repeat("z", 1000)
	line := func(n uint64) string { return fmt.Sprintf(`{"index":%d,"entry":["%s"]}`+"\n", n, pad) }
	var head uint64
	check := func(next uint64) (last uint64) {
		t.Helper()
		lines, _, last, err := tail.lines(context.Background(), next, head)
		if err != nil || last < next || last > head {
			t.Fatalf("lines from %d to a head of %d: last %d, %v", next, head, last, err)
		}
		for n := next; n <= last; n++ {
			var got []byte
			got, lines = cutLine(lines)
			if string(got) != line(n) {
				t.Fatalf("line %d is %.40q…", n, got)
			}
		}
		if len(lines) > 0 {
			t.Fatalf("%d bytes are left after line %d", len(lines), last)
		}
		return last
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		for range 1 + random.IntN(20) {
			log.put(t, `["`+pad+`"]`)
			head++
		}
		for next := head - min(head-1, uint64(random.IntN(200))); next <= head; {
			next = check(next) + 1
		}
		// One block is always kept, and an eviction leaves no gap.
		if tail.size > size+tailBlock+20*2000 {
			t.Fatalf("the cache holds %d bytes, want about %d", tail.size, size)
		}
		sum := 0
		for i, b := range tail.blocks {
			if sum += b.size(); i > 0 && b.first != tail.blocks[i-1].last+1 {
				t.Fatalf("block %d begins at %d after one that ends at %d", i, b.first, tail.blocks[i-1].last)
			}
		}
		if sum != tail.size {
			t.Fatalf("the cache counts %d bytes but holds %d", tail.size, sum)
		}
	}
	// The newest lines come from the cache: nothing is read for them a second time.
	newest := tail.blocks[len(tail.blocks)-1].first
	reads := len(log.reads)
	check(newest)
	if len(log.reads) != reads {
		t.Errorf("lines in the cache were read from the log")
	}
	tail.leave()
	if tail.size != 0 || tail.blocks != nil {
		t.Error("the cache is not empty after the last follower has left")
	}
}

// A log that cannot be read ends only the follower that asked.
func TestTailPassesErrorsOn(t *testing.T) {
	log := newFakeLog()
	log.put(t, "[1]", "[2]")
	tail := tail{log: log, max: 1 << 20}
	tail.join()
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, _, err := tail.lines(cut, 1, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	lines, _, last, err := tail.lines(context.Background(), 1, 2)
	if want := "{\"index\":1,\"entry\":[1]}\n{\"index\":2,\"entry\":[2]}\n"; string(lines) != want || last != 2 || err != nil {
		t.Errorf("got %q, %d, %v", lines, last, err)
	}
}
