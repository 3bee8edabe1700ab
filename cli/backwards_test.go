package cli

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// fakeSource has entries of the given sizes, from index 1 on; one of size 0 cannot be read. It
// counts the reads.
type fakeSource struct {
	sizes []int
	reads *int
	fails error // what a read ends with
}

func (f fakeSource) head(context.Context) (uint64, error)             { return uint64(len(f.sizes)), nil }
func (f fakeSource) since(context.Context, time.Time) (uint64, error) { return 0, nil }

func (f fakeSource) read(_ context.Context, s extent) iter.Seq2[client.Entry, error] {
	return func(yield func(client.Entry, error) bool) {
		buf := []byte(strings.Repeat("x", 1<<20))
		for i := s.from; i <= min(s.through, uint64(len(f.sizes))); i++ {
			*f.reads++
			e, err := client.Entry{Index: i, Value: buf[:f.sizes[i-1]]}, error(nil)
			if len(e.Value) == 0 {
				e, err = client.Entry{}, &client.EntryError{Index: i}
			} else if s.where != nil && i%1000 != 0 {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
		if f.fails != nil {
			yield(client.Entry{}, f.fails)
		}
	}
}

// TestBackwards: each entry comes once, last one first, whatever their sizes, and none is read
// often.
func TestBackwards(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]func(int) int{
		"small":   func(int) int { return 10 },
		"large":   func(int) int { return 1 << 20 },
		"huge":    func(i int) int { return 1<<20 - i },
		"mixed":   func(int) int { return 1 << random.IntN(20) },
		"damaged": func(i int) int { return i % 3 },
	} {
		t.Run(name, func(t *testing.T) {
			n := 200
			if name == "small" || name == "damaged" {
				n = 200_000
			}
			f := fakeSource{reads: new(int)}
			for i := range n {
				f.sizes = append(f.sizes, size(i))
			}
			for _, where := range [][]byte{nil, []byte("{}")} {
				*f.reads = 0
				next, came := uint64(n)+1, 0
				for e, err := range backwards(t.Context(), f, extent{from: 3, through: uint64(n), where: where}) {
					if e.Index >= next || where == nil && e.Index != next-1 || err == nil && len(e.Value) != f.sizes[e.Index-1] {
						t.Fatalf("entry %d of %d bytes came before %d", e.Index, len(e.Value), next)
					}
					next = e.Index
					came++
				}
				if where == nil && next != 3 {
					t.Errorf("it ends with entry %d, want 3", next)
				}
				if *f.reads > 3*n+backwardsFirst {
					t.Errorf("%d entries were read for %d", *f.reads, n)
				}
			}
		})
	}
}

// TestBackwardsKeepsLittle: the part kept of a long read is bounded, and it is its end.
func TestBackwardsKeepsLittle(t *testing.T) {
	f := fakeSource{reads: new(int)}
	for range 300 {
		f.sizes = append(f.sizes, 100_000)
	}
	last, dropped, err := keepLast(f.read(t.Context(), extent{from: 1, through: 300}))
	size := 0
	for i, k := range last {
		size += k.size()
		if want := uint64(300 - len(last) + 1 + i); k.entry.Index != want {
			t.Fatalf("entry %d is in the place of %d", k.entry.Index, want)
		}
	}
	if !dropped || err != nil || size > backwardsMax || size < backwardsMax-200_000 {
		t.Errorf("%d entries of %d bytes are kept, %v, %v", len(last), size, dropped, err)
	}
}

// TestBackwardsEnds: a count ends it, and so does an error.
func TestBackwardsEnds(t *testing.T) {
	f := fakeSource{sizes: make([]int, 1000), reads: new(int)}
	var got []uint64
	for _, err := range backwards(t.Context(), f, extent{from: 1, through: 1000, count: 3}) {
		var bad *client.EntryError
		if !errors.As(err, &bad) {
			t.Fatal(err)
		}
		got = append(got, bad.Index)
	}
	if text, _ := json.Marshal(got); string(text) != "[1000,999,998]" {
		t.Errorf("got %s", text)
	}
	f.fails = errors.New("lost")
	for _, err := range backwards(t.Context(), f, extent{from: 1, through: 1000}) {
		if err != f.fails {
			t.Fatalf("got %v, want %v", err, f.fails)
		}
	}
}
