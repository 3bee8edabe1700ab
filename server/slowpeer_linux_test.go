package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestHandedOffSlowPeer: a peer that takes no replies for a while still receives each of
// them, and one that takes none for too long is cut off.
func TestHandedOffSlowPeer(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"at last": time.Hour, "never": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			handOffAtOnce(t)
			h := start(t, openFake(t), Config{WriteTimeout: timeout})
			c := h.dial()
			c.nc.(*net.TCPConn).SetReadBuffer(32 << 10)
			h.waitConns(1, func(c *conn) { c.setWriteBuffer(t, 32<<10) })
			c.append(1, 1)
			c.want(ack(1, 1))
			h.waitHandedOff(1)
			// Replies of 8 kB each, more than the socket holds.
			const count = 200
			id := strings.Repeat("x", 8000)
			var lines strings.Builder
			for n := range count {
				fmt.Fprintf(&lines, `{"id":"%s%d","entry":[]}`+"\n", id, n)
			}
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c.nc, lines.String())
				sent <- err
			}()
			if timeout != time.Hour {
				poll(t, "the end of the connection", func() bool { return h.Connections() == 0 })
				c.nc.Close()
				<-sent
				return
			}
			for n := range count {
				if got, want := c.line(), fmt.Sprintf(`{"id":"%s%d","index":%d}`, id, n, n+2); got != want {
					t.Fatalf("reply %d is …%s", n, got[max(0, len(got)-40):])
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			c.append(2, 1)
			c.want(ack(2, count+2))
			poll(t, "the connection to be handed off again", func() bool {
				c.write("\n")
				return h.gather.Len() == 1
			})
		})
	}
}

// waitConns waits until there are n connections and looks at each.
func (h *host) waitConns(n int, look func(*conn)) {
	h.t.Helper()
	poll(h.t, "the connections", func() bool { return h.Connections() == n })
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		look(c)
	}
}
