package daemon

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestLogQueueLastLine: each line is written even if no other follows.
func TestLogQueueLastLine(t *testing.T) {
	from, to := io.Pipe()
	q := newLogQueue(to, 16, func(n uint64) { t.Errorf("%d lines were dropped", n) })
	got := make([]byte, 6)
	for n := range 20_000 {
		line := fmt.Sprintf("%05d\n", n)
		q.Write([]byte(line))
		if _, err := io.ReadFull(from, got); err != nil || string(got) != line {
			t.Fatalf("line %d is %q, %v", n, got, err)
		}
	}
	q.close(time.Minute)
}

// TestLogQueueFull: logging does not wait for a stuck reader; lines without room are counted, and the
// others arrive in order once it reads again.
func TestLogQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{let: make(chan struct{})}
		var dropped uint64
		q := newLogQueue(&out, 4, func(n uint64) { dropped += n })
		line := []byte("0\n")
		q.Write(line)
		synctest.Wait() // the writer has it, and is stuck
		for n := 1; n < 10; n++ {
			line[0] = byte('0' + n)
			q.Write(line)
		}
		begun := time.Now()
		q.close(time.Second)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("closing took %v without a reader, want 1s", took)
		}
		close(out.let)
		q.close(time.Second)
		if got, want := strings.Fields(out.String()), "0 1 2 3 4"; strings.Join(got, " ") != want || dropped != 5 {
			t.Errorf("%v came through and %d were dropped, want %s and 5", got, dropped, want)
		}
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Errorf("after closing a write is %d, %v", n, err)
		}
	})
}

// TestLogQueueRoom: without a reader, lines that a peer can provoke endlessly do not displace those that
// say who has connected, and neither displaces errors.
func TestLogQueueRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{let: make(chan struct{})}
		var dropped uint64
		q := newLogQueue(&out, 8, func(n uint64) { dropped += n })
		logger := pinoLogger(q, zerolog.InfoLevel)
		logger.Info().Str("event", "first").Send()
		synctest.Wait() // the writer has it, and is stuck
		for range 100 {
			logger.Warn().Str("event", "invalid").Str("error", `"event":"connected"`).Send()
		}
		for range 100 {
			logger.Info().Str("event", "connected").Send()
		}
		for range 4 {
			logger.Error().Str("event", "failed").Send()
		}
		close(out.let)
		q.close(time.Minute)
		for event, want := range map[string]int{"invalid": 8, "connected": 4, "failed": 4} {
			if got := strings.Count(out.String(), `"event":"`+event+`"`); got != want {
				t.Errorf("%d lines with the event %s came through, want %d", got, event, want)
			}
		}
		if dropped != 92+96 {
			t.Errorf("%d lines were dropped, want 188", dropped)
		}
	})
}

// TestLogQueueClose: lines logged before closing are written.
func TestLogQueueClose(t *testing.T) {
	var out bytes.Buffer
	q := newLogQueue(&out, 1000, func(n uint64) { t.Errorf("%d lines were dropped", n) })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 250 {
				io.WriteString(q, "line\n")
			}
		})
	}
	wg.Wait()
	q.close(time.Minute)
	if got := strings.Count(out.String(), "line\n"); got != 1000 {
		t.Errorf("%d lines came through, want 1000", got)
	}
}

// stuck is a writer that blocks until it is released.
type stuck struct {
	let chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	return s.Buffer.Write(p)
}
