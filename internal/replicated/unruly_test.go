package replicated

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// unruly makes f treat each attempt to publish in a random way: lose it, store it without acknowledging
// it, refuse it although it is stored, or store it long after its sender has given up.
func (f *fake) unruly(seed uint64) {
	var mu sync.Mutex
	var late []*nats.Msg
	r := rand.New(rand.NewPCG(seed, 7))
	f.publish = func(_ int, msg *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		for len(late) > 0 && r.IntN(3) == 0 {
			f.store(late[0])
			late = late[1:]
		}
		switch r.IntN(12) {
		case 0: // lost
		case 1:
			f.store(msg)
		case 2:
			f.store(msg)
			f.refuse(msg, 10071)
		case 3:
			f.refuse(msg, 10164)
		case 4:
			f.refuse(msg, 10071)
			late = append(late, msg)
		case 5:
			late = append(late, msg)
		case 6:
			f.answer(msg, `{"stream":"log","seq":0}`)
		default:
			f.acknowledge(msg, f.store(msg))
		}
	}
}

// TestUnruly has gateways append through a cluster that treats messages in random ways, and loses or
// damages many of those that they ask for. Every outcome that they report must be true.
func TestUnruly(t *testing.T) {
	rounds, enough, seed := 6, uint64(200), rand.Uint64()
	if testing.Short() {
		rounds, enough = 2, 40
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			r := rand.New(rand.NewPCG(seed, uint64(round)))
			f.mu.Lock()
			f.unruly(seed + uint64(round))
			f.get = func(_ uint64, leader bool, data []byte) []byte {
				switch n := r.IntN(10); {
				case n == 0 && !leader:
					return nil
				case n == 1 && !leader:
					data = slices.Clone(data)
					data[r.IntN(len(data))] ^= 1 << r.IntN(8)
				}
				return data
			}
			f.mu.Unlock()
			h := newHistory(t)
			stop := make(chan struct{})
			var writing sync.WaitGroup
			var gateways []*Log
			for i := range 3 {
				l := f.gateway(time.Duration(1+round%2)*time.Second, func(c *Config) { c.attempt = 50 * time.Millisecond })
				gateways = append(gateways, l)
				for w := range 2 {
					writing.Go(func() { h.write(l, 10*i+w, stop) })
				}
			}
			eventually(t, fmt.Sprintf("there are %d entries", enough), func() bool { return gateways[0].Known() >= enough })
			close(stop)
			writing.Wait()
			log := f.entries()
			h.check(log)
			for i, l := range gateways {
				eventually(t, "all is counted", func() bool { return l.Known() >= uint64(len(log)) })
				if got := readAll(t, l, 1, uint64(len(log))); !slices.Equal(got, log) {
					t.Errorf("seed %d: gateway %d has another log", seed, i)
				}
			}
			if t.Failed() {
				t.Logf("seed %d, round %d", seed, round)
			}
		})
	}
}
