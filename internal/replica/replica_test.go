package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/engine"
	"tcp-log-server/internal/porttest"
)

func TestFollow(t *testing.T) {
	for _, had := range []int{0, 1, 7, 100} {
		source := serve(t, newFakeLog(100))
		copied := newFakeLog(had)
		r := follow(t, source.addr, copied, nil)
		awaitCopy(t, r, source.fakeLog, copied)
		source.add(5)
		awaitCopy(t, r, source.fakeLog, copied)
		await(t, "the source to be told", func() bool {
			source.mu2.Lock()
			defer source.mu2.Unlock()
			return len(source.durable) > 0 && source.durable[0] == uint64(had) && source.durable[len(source.durable)-1] == 105
		})
		if got, want := source.asked[0], (request{From: uint64(had) + 1, Store: testStore, Epoch: 1, Name: "copy"}); got != want {
			t.Errorf("the replica has asked for %+v, want %+v", got, want)
		}
		if s := r.Status(); s.Source != source.addr || s.BehindSeconds != 0 || s.Stopped+s.Error != "" {
			t.Errorf("the status is %+v", s)
		}
	}
}

// TestStays: a replica tells a source with nothing new from time to time that it is there.
func TestStays(t *testing.T) {
	source := serve(t, newFakeLog(3))
	follow(t, source.addr, newFakeLog(3), nil)
	await(t, "several signs of life", func() bool {
		source.mu2.Lock()
		defer source.mu2.Unlock()
		return len(source.durable) > 3
	})
}

// logged is log output that tests can inspect.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// panickingLog panics where a mistake in the replica would.
type panickingLog struct{ *fakeLog }

func (panickingLog) Head(context.Context) (uint64, error) { panic("a mistake") }

// TestPanic: a panic is not swallowed: it ends Run, and so the process.
func TestPanic(t *testing.T) {
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		New(Config{Source: "127.0.0.1:1", Log: panickingLog{newFakeLog(0)}, pace: quick}).Run(t.Context())
	}()
	select {
	case p := <-ended:
		if p != "a mistake" {
			t.Errorf("Run has ended with %v, want the panic", p)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run has not ended")
	}
}

// TestFull: a replica without room on its disk continues when there is some. Until then it reports
// nothing as durable.
func TestFull(t *testing.T) {
	source := serve(t, newFakeLog(20))
	copied := newFakeLog(0)
	copied.fails = fmt.Errorf("%w: %w", engine.ErrNotStored, errTest)
	var log logged
	r := follow(t, source.addr, copied, func(c *Config) {
		c.Logger, c.Connect.MaxBackoff = zerolog.New(&log), time.Second
	})
	await(t, "the error", func() bool { return strings.Contains(r.Status().Error, errTest.Error()) })
	// The source is asked less and less often, because it sends everything each time.
	await(t, "a longer wait", func() bool { return strings.Contains(log.String(), `"again":"16ms",`) })
	source.mu2.Lock()
	if told := slices.Max(source.durable); told > 0 {
		t.Errorf("the source was told that entries through %d are durable, and none is", told)
	}
	source.mu2.Unlock()
	copied.mu.Lock()
	copied.fails = nil
	copied.mu.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestSilence: a silent source is given up, and so is one that does not answer.
func TestSilence(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.mute = true
	copied := newFakeLog(0)
	r := follow(t, source.addr, copied, func(c *Config) { c.pace.silence = 30 * time.Millisecond })
	await(t, "the replica to hang up", func() bool { return strings.Contains(r.Status().Error, "timeout") })
	source.mu2.Lock()
	source.mute = false
	source.mu2.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestBounded: while the disk is slow, only a limited amount is received, and then it is stored
// together.
func TestBounded(t *testing.T) {
	log := newFakeLog(0)
	text := `{"x":"` + strings.Repeat("x", 100_000) + `"}`
	for i := range 200 {
		log.entries = append(log.entries, entry{text: text, time: int64(i)})
	}
	source := serve(t, log)
	copied := newFakeLog(0)
	copied.slow = make(chan struct{})
	r := follow(t, source.addr, copied, nil)
	for r.Status().Behind > 0 || !r.Status().Connected {
		select {
		case copied.slow <- struct{}{}:
			time.Sleep(5 * time.Millisecond) // more arrives in the meantime
		case <-time.After(time.Millisecond):
		}
	}
	awaitCopy(t, r, source.fakeLog, copied)
	if copied.largest > roomMax+len(text)+1 {
		t.Errorf("%d bytes were stored together, want %d at most", copied.largest, roomMax+len(text)+1)
	}
	if copied.calls > 150 {
		t.Errorf("%d batches took %d syncs, want them together", len(log.entries), copied.calls)
	}
	close(copied.slow)
}

// TestBehind: the status says how long the replica has lacked entries of the source.
func TestBehind(t *testing.T) {
	var s state
	s.init()
	s.complete = time.Now().Add(-time.Hour)
	s.connect(10, 4, nil)
	if got := s.status(time.Now()); got.Behind != 6 || got.BehindSeconds < 3600 {
		t.Errorf("at first the status is %+v", got)
	}
	s.heard(12)
	s.stored(11) // everything the source had when the conversation began
	if got := s.status(time.Now()); got.Behind != 1 || got.BehindSeconds > 60 {
		t.Errorf("after the first ten entries the status is %+v", got)
	}
	s.stored(12)
	if got := s.status(time.Now().Add(time.Hour)); got.Behind != 0 || got.BehindSeconds != 0 {
		t.Errorf("after all of them the status is %+v", got)
	}
	if !s.disconnect("x") || s.disconnect("y") {
		t.Error("disconnect does not tell the first failure from the second")
	}
	if got := s.status(time.Now().Add(time.Hour)); got.BehindSeconds < 3500 || got.Error != "y" {
		t.Errorf("an hour after the connection was lost the status is %+v", got)
	}
}

// TestStoreOf: a replica without a log asks which log it must copy, until it gets an answer.
func TestStoreOf(t *testing.T) {
	config := Config{Source: porttest.Addr(t), pace: quick}
	if _, err := StoreOf(t.Context(), config); err == nil {
		t.Error("there is an answer without a source")
	}
	source := serve(t, newFakeLog(20))
	tries := 0
	config.Connect.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if tries++; tries < 3 {
			return nil, errors.New("not yet")
		}
		return net.Dial(network, source.addr)
	}
	told := 0
	store, err := AwaitStore(t.Context(), config, func(error) { told++ })
	if err != nil || store != testStore || told != 2 {
		t.Errorf("the store is %s, %v, after %d failures were told of, want %s after 2", store, err, told, testStore)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AwaitStore(ctx, config, func(error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end of its context AwaitStore returns %v", err)
	}
}
