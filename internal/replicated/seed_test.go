package replicated

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
	"tcp-log-server/internal/cluster/clustertest"
	"tcp-log-server/segment"
)

// seeding is a seed of n entries for tests.
type seeding struct {
	n      int
	opened int
	// each, if not nil, is called before an entry is passed.
	each func(index uint64) error
	// entry and time return those at an index.
	entry func(index uint64) string
	time  func(index uint64) int64
}

func newSeeding(n int) *seeding {
	return &seeding{
		n: n,
		entry: func(index uint64) string {
			return fmt.Sprintf(`{"n":%d,"x":"%s"}`, index, strings.Repeat("x", int(index%977)))
		},
		time: func(index uint64) int64 { return 1_700_000_000_000_000 + int64(index/7) },
	}
}

func (s *seeding) open() (Seed, error) {
	s.opened++
	return Seed{
		Name: "the seed", Store: segment.StoreID{1, 2, 3}, Head: uint64(s.n),
		Epochs: segment.Epochs{{Number: 1, First: 1}, {Number: 3, First: uint64(s.n) + 1}},
		Read: func(ctx context.Context, from uint64, fn func(uint64, []byte, int64) error) error {
			for i := from; i <= uint64(s.n); i++ {
				if s.each != nil {
					if err := s.each(i); err != nil {
						return err
					}
				}
				if err := fn(i, []byte(s.entry(i)), s.time(i)); err != nil {
					return err
				}
			}
			return ctx.Err()
		},
	}, nil
}

// digest returns the digest of the seed's entries.
func (s *seeding) digest() appends.Digest {
	d := appends.NewDigester()
	for i := uint64(1); i <= uint64(s.n); i++ {
		d.Add(blake3.Sum256([]byte(s.entry(i))), s.time(i))
	}
	return d.Sum()
}

// alone starts a cluster of one node and returns the configuration for a log on it.
func alone(t *testing.T) Config {
	t.Helper()
	c := clustertest.Start(t, clustertest.Options{Size: 1})
	return Config{
		Conn: c.Conn(0, Options()...), Stream: "LOG", Create: true, Replicas: 1, Head: HeadLeader,
		GiveUp: 10 * time.Second, Logger: zerolog.Nop(),
	}
}

// wantSeeded checks that a log holds a seed, and takes appends after it.
func wantSeeded(t *testing.T, config Config, s *seeding) *Log {
	t.Helper()
	l := open(t, config)
	if head := l.Known(); head != uint64(s.n) {
		t.Fatalf("the head is %d, want %d", head, s.n)
	}
	d, err := l.Digest(t.Context(), 1, uint64(s.n))
	if err != nil {
		t.Fatal(err)
	}
	if d != s.digest() {
		t.Errorf("the digest is %x, want %x", d, s.digest())
	}
	seed, _ := s.open()
	if l.Store() != seed.Store.String() || segment.Epochs(l.Epochs()).String() != seed.Epochs.String() {
		t.Errorf("the log is %s in the epochs %v, want %s, %v", l.Store(), l.Epochs(), seed.Store, seed.Epochs)
	}
	if r := put(t, l, appends.Condition{}, "{}"); r.First != uint64(s.n)+1 {
		t.Errorf("an append is stored at %d, want %d", r.First, s.n+1)
	}
	return l
}

func TestSeed(t *testing.T) {
	config, s := alone(t), newSeeding(30_000)
	var told uint64
	err := SeedStream(t.Context(), config, func() (Seed, error) {
		seed, err := s.open()
		seed.Progress = func(through uint64) { told = through }
		return seed, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if told == 0 {
		t.Error("no progress was told")
	}
	wantSeeded(t, config, s)
	s.opened = 0
	if err := SeedStream(t.Context(), config, s.open); err != nil || s.opened > 0 {
		t.Errorf("seeding again: %v, and the seed was opened %d times", err, s.opened)
	}
}

// TestSeedMessages: messages are as long as allowed, and no longer.
func TestSeedMessages(t *testing.T) {
	config, s := alone(t), newSeeding(40_000)
	s.time = func(uint64) int64 { return 1_700_000_000_000_000 }
	s.entry = func(index uint64) string {
		if index > 20_000 {
			return `{"x":"` + strings.Repeat("x", 200) + `"}`
		}
		return "{}"
	}
	if err := SeedStream(t.Context(), config, s.open); err != nil {
		t.Fatal(err)
	}
	// The 20,000 tiny entries fill one message by count and begin another; the others fill theirs by
	// size.
	size := 20_000 * 209
	if l := wantSeeded(t, config, s); l.counted().seq != uint64(2+size/batchBytes+1) {
		t.Errorf("there are %d messages with one append, want %d", l.counted().seq, 2+size/batchBytes+1)
	}
}

// TestSeedInterrupted: while a stream is being seeded no gateway serves its log, and seeding continues
// where it was interrupted.
func TestSeedInterrupted(t *testing.T) {
	config, s := alone(t), newSeeding(30_000)
	for _, at := range []uint64{1, 7000, 20_000} {
		passed := 0
		s.each = func(index uint64) error {
			if passed++; index == at && passed > s.n { // not while the seed is checked
				return errors.New("interrupted")
			}
			return nil
		}
		if at > 1 {
			passed = s.n
		}
		if err := SeedStream(t.Context(), config, s.open); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Fatalf("seeding ends with %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		waits := config
		waits.Waiting = func(string) { cancel() }
		if l, err := Open(ctx, waits); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the log is being seeded") {
			t.Errorf("the log can be opened: %v, %v", l, err)
		}
		cancel()
	}
	serving := make(chan *Log)
	go func() { serving <- open(t, config) }() // waits until the seed is there
	s.each = nil
	if err := SeedStream(t.Context(), config, s.open); err != nil {
		t.Fatal(err)
	}
	if l := <-serving; l.Known() != uint64(s.n) {
		t.Errorf("another gateway begins with %d entries, want %d", l.Known(), s.n)
	}
	wantSeeded(t, config, s)
}

// TestSeedTwice: two processes that seed a stream at the same time seed it once.
func TestSeedTwice(t *testing.T) {
	config, s := alone(t), newSeeding(20_000)
	var seeding sync.WaitGroup
	for range 2 {
		own := *s
		seeding.Go(func() {
			if err := SeedStream(t.Context(), config, own.open); err != nil {
				t.Error(err)
			}
		})
	}
	seeding.Wait()
	wantSeeded(t, config, s)
}

// TestSeedResent: messages that were not acknowledged are sent again, and stored once.
func TestSeedResent(t *testing.T) {
	config, s := alone(t), newSeeding(20_000)
	s.time = func(index uint64) int64 { return 1_700_000_000_000_000 + int64(index/100) }
	l, err := newLog(config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.cancel()
	seed, _ := s.open()
	cut := 0
	s.each = func(index uint64) error {
		if cut++; cut == s.n+10_000 { // the answers to the messages under way are lost
			config.Conn.ForceReconnect()
		}
		return nil
	}
	if err := SeedStream(t.Context(), config, func() (Seed, error) { return seed, nil }); err != nil {
		t.Fatal(err)
	}
	if l := wantSeeded(t, config, s); l.counted().seq != 20_000/100+2 {
		t.Errorf("there are %d messages, want %d", l.counted().seq, 20_000/100+2)
	}
}

func TestSeedRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(t *testing.T, config Config, s *seeding)
		want    string
		created bool // the stream may exist
	}{
		"another log": {func(t *testing.T, config Config, _ *seeding) {
			open(t, config)
		}, "has a log already", true},
		"another seed": {func(t *testing.T, config Config, s *seeding) {
			other := newSeeding(900)
			other.each = stopAfter(500 + 900)
			if err := SeedStream(t.Context(), config, other.open); err == nil {
				t.Error("seeding was not interrupted")
			}
		}, "is being seeded with log 01020300000000000000000000000000 of 900 entries", true},
		"other entries": {func(t *testing.T, config Config, s *seeding) {
			other := newSeeding(1000)
			other.entry = func(index uint64) string { return fmt.Sprint("[", index, "]") }
			other.each = stopAfter(500 + 1000)
			if err := SeedStream(t.Context(), config, other.open); err == nil {
				t.Error("seeding was not interrupted")
			}
		}, "message 1 of stream LOG, from entry 1 on, is not what the seed has there", true},
		"large": {func(_ *testing.T, config Config, s *seeding) {
			s.entry = func(uint64) string { return `"` + strings.Repeat("x", int(config.Conn.MaxPayload())) + `"` }
		}, "entry 1 has 8388610 bytes", false},
		"no time": {func(_ *testing.T, _ Config, s *seeding) {
			s.time = func(index uint64) int64 { return int64(2 - min(index, 2)) }
		}, "the time of entry 2 is not known", false},
		"back in time": {func(_ *testing.T, _ Config, s *seeding) {
			s.time = func(index uint64) int64 { return int64(5000 - index) }
		}, "the time of entry 2 is earlier than that of the entry before it", false},
		"unreadable": {func(_ *testing.T, _ Config, s *seeding) {
			s.each = func(index uint64) error {
				if index == 700 {
					return errors.New("entry 700 is damaged")
				}
				return nil
			}
		}, "entry 700 is damaged", false},
	} {
		t.Run(name, func(t *testing.T) {
			config, s := alone(t), newSeeding(1000)
			tt.change(t, config, s)
			err := SeedStream(t.Context(), config, s.open)
			if !errors.Is(err, ErrSeed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("seeding ends with %v, want %q in it", err, tt.want)
			}
			if l, _ := newLog(config); !tt.created {
				if _, err := l.js.Stream(t.Context(), config.Stream); err == nil {
					t.Error("there is a stream, although its seed cannot be used")
				}
			}
		})
	}
}

// stopAfter makes the reading of a seed fail after n entries.
func stopAfter(n int) func(uint64) error {
	return func(uint64) error {
		if n--; n < 0 {
			return errors.New("interrupted")
		}
		return nil
	}
}
