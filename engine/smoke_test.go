package engine

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		c := NewConfig(dir)
		c.SegmentSize = 4096
		c.LooseMax = 20
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := l.Head(t.Context())
		if h != uint64(round*100) {
			t.Fatalf("head %d", h)
		}
		ch := make(chan error, 100)
		for i := range 100 {
			e := fmt.Appendf(nil, "{\"n\":%d,\"round\":%d}\n", i, round)
			l.Append(e, 1, func(first uint64, err error) { ch <- err })
		}
		for range 100 {
			if err := <-ch; err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(600 * time.Millisecond)
		n := 0
		err = l.Read(context.Background(), 1, 1<<60, func(first uint64, count int, b []byte, err error) error {
			if err != nil {
				return err
			}
			n += count
			return nil
		})
		t.Log(n, err, l.Stats())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
