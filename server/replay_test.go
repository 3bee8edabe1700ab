package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAcksDuringReplayWait: a connection whose replay waits for its turn, or for its place
// among those that read, receives the replies to its writes meanwhile.
func TestAcksDuringReplayWait(t *testing.T) {
	for name, places := range map[string]func(*replayThrottle) chan struct{}{
		"turn":  func(r *replayThrottle) chan struct{} { return r.slots },
		"reads": func(r *replayThrottle) chan struct{} { return r.reads },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			h := start(t, openMemory(t), Config{})
			c := h.dial()
			const entries = 8
			entry := `["` + strings.Repeat("x", flushAt/2) + `"]`
			for n := 1; n <= entries; n++ {
				c.send(fmt.Sprintf(`{"id":"%d","entry":%s}`, n, entry))
				c.want(ack(n, n))
			}
			place := places(h.throttle)
			for range cap(place) {
				place <- struct{}{}
			}
			c.send(`{"from":1}`)
			time.Sleep(50 * time.Millisecond) // until the replay waits
			c.send(`{"id":"late","entry":[]}`)
			next := 1
			for {
				line := c.line()
				if strings.HasPrefix(line, `{"id":"late","index":9}`) {
					break
				}
				if want := fmt.Sprintf(`{"index":%d,`, next); !strings.HasPrefix(line, want) {
					t.Fatalf("got %.50s, want %s or the reply", line, want)
				}
				next++
			}
			if next > entries {
				t.Errorf("the reply came after the whole history")
			}
			for range cap(place) {
				<-place
			}
			for ; next <= entries; next++ {
				c.want(fmt.Sprintf(`{"index":%d,"entry":%s}`, next, entry))
			}
			c.want(current, `{"index":9,"entry":[]}`)
		})
	}
}
