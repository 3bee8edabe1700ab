package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// farLog is a log whose first entries are far away, where nothing answers until the test ends.
type farLog struct {
	*fakeLog
	near    uint64
	waiting chan struct{} // gets a token for each read that waits
	answer  chan struct{} // closed when there is an answer
}

func (l *farLog) Near() uint64 { return l.near }

func (l *farLog) Read(ctx context.Context, from, through uint64, fn readFunc) error {
	return l.fakeLog.Read(ctx, from, through, func(first uint64, count int, entries []byte, at int64, err error) error {
		if first < l.near && first > 1 {
			l.waiting <- struct{}{}
			select {
			case <-l.answer:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return fn(first, count, entries, at, err)
	})
}

// TestFarReadsKeepNoPlaces: replays that wait for distant entries, at their beginning or after
// they have sent some, take neither turns nor places from replays of local entries.
func TestFarReadsKeepNoPlaces(t *testing.T) {
	const entries, near, waits = 12, 7, 2 * replaysFar
	for from, request := range map[string]string{"at the beginning": `{"from":2,"through":3}`, "later": `{"from":1,"through":3}`} {
		t.Run(from, func(t *testing.T) {
			noLeaks(t)
			log := &farLog{fakeLog: newFakeLog(), near: near, waiting: make(chan struct{}, 3*waits), answer: make(chan struct{})}
			h := start(t, log, Config{})
			t.Cleanup(func() { close(log.answer) })
			c := h.dial()
			entry := `["` + strings.Repeat("x", flushAt) + `"]`
			for n := 1; n <= entries; n++ {
				c.send(fmt.Sprintf(`{"id":"%d","entry":%s}`, n, entry))
				c.want(ack(n, n))
			}
			for range waits {
				h.dial().send(request)
			}
			for range replaysFar {
				<-log.waiting
			}
			if n := len(h.throttle.far); n != replaysFar || len(h.throttle.reads) > 0 || len(h.throttle.slots) > 0 {
				t.Errorf("%d reads wait for what is far away, and %d places and %d turns of others are taken", n, len(h.throttle.reads), len(h.throttle.slots))
			}
			c.send(fmt.Sprintf(`{"from":%d}`, near))
			for n := near; n <= entries; n++ {
				c.want(fmt.Sprintf(`{"index":%d,"entry":%s}`, n, entry))
			}
			c.want(current)
		})
	}
}
