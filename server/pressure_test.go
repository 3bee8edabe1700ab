package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
	"tcp-log-server/engine"
)

// mixed appends count entries, some of which are longer than a socket takes at
// once, and returns the line of each.
func mixed(t *testing.T, log *engine.Log, count int) (lines []string) {
	t.Helper()
	done := make(chan error, count)
	for n := 1; n <= count; n++ {
		size := n * 131 % 2000
		if n%97 == 0 {
			size = 700_000
		}
		entry := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat(string(rune('a'+n%26)), size))
		log.Append([]byte(entry+"\n"), 1, func(_ uint64, err error) { done <- err })
		lines = append(lines, fmt.Sprintf(`{"index":%d,"entry":%s}`, n, entry))
	}
	for range count {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// A replay that gave up what it had gathered goes on where it was, to the byte.
func TestPausedReplay(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	lines := mixed(t, log, 2000)
	h := start(t, log, Config{})
	for range cap(h.warm) {
		h.warm <- struct{}{} // none may keep anything
	}
	c := h.dial()
	c.nc.(*net.TCPConn).SetReadBuffer(128 << 10)
	poll(t, "the connection", func() bool { return h.Connections() == 1 })
	h.mu.Lock()
	for conn := range h.conns {
		conn.socket.tcp.SetWriteBuffer(64 << 10) // less than is gathered
	}
	h.mu.Unlock()
	c.send(`{"from":1}`)
	for i, want := range lines {
		if i%50 == 0 {
			c.append(i, 1) // and its reply comes among the lines
			var sent uint64
			poll(t, "the socket to be full, or the end", func() bool {
				before := sent
				sent = h.Stats().Sent
				time.Sleep(2 * time.Millisecond)
				return sent == before
			})
		}
		got := c.line()
		for strings.HasPrefix(got, `{"id":`) {
			got = c.line()
		}
		if got != want {
			t.Fatalf("line %d is %.60s… of %d bytes, want %.60s… of %d", i+1, got, len(got), want, len(want))
		}
	}
	if len(h.reading) > 0 {
		t.Errorf("%d replays may read, and none does", len(h.reading))
	}
	c.nc.Close()
}

// A replay that waits notices that its peer is gone, also where nothing more is
// read from it.
func TestPausedReplayOfAPeerThatIsGone(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	fill(t, log, 20_000, 1000)
	h := start(t, log, Config{})
	for range cap(h.warm) {
		h.warm <- struct{}{}
	}
	c := h.dial()
	c.send(`{"from":1}`)
	c.half()
	c.line()
	var sent uint64
	poll(t, "the socket to be full", func() bool {
		before := sent
		sent = h.Stats().Sent
		time.Sleep(10 * time.Millisecond)
		return sent == before
	})
	c.nc.(*net.TCPConn).SetLinger(0)
	c.nc.Close()
	poll(t, "the end of the connection", func() bool { return h.Connections() == 0 })
}

// Where peers hold too much memory, those go that have held it the longest, and
// nobody else does.
func TestMemoryThatPeersHold(t *testing.T) {
	noLeaks(t)
	const bound = 8 << 20
	h := start(t, newFakeLog(), Config{MaxHeld: bound})
	for range cap(h.places) {
		h.roomy.TryAcquire(roomyMax)
	}
	other := h.dial()
	var peers []*client
	for n := range 60 {
		c := h.dial()
		c.write(`{"id":"1","entry":["` + strings.Repeat("x", 200_000)) // and never the rest
		poll(t, "the line to arrive, or the end of an earlier one", func() bool { return h.held.Load() > 0 })
		if held := h.held.Load(); held > bound+2<<20 { // what arrives while others are cut off
			t.Fatalf("%d bytes are held after %d lines, want little more than %d at any time", held, n+1, bound)
		}
		poll(t, fmt.Sprintf("%d bytes at most to be held after %d lines", bound, n+1), func() bool { return h.held.Load() <= bound })
		peers = append(peers, c)
		other.append(n, 1)
		other.want(ack(n, n+1))
	}
	if _, err := io.ReadAll(peers[0].r); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the oldest: %v", err)
	}
	last := peers[len(peers)-1]
	last.write("\"]}\n")
	last.want(ack(1, 61))
	for _, c := range peers {
		c.nc.Close()
	}
	poll(t, "nothing held", func() bool { return h.held.Load() == 0 })
}

// Long lines wait for each other, and one that hardly comes is given up for them.
func TestLongLinesTakeTurns(t *testing.T) {
	noLeaks(t)
	h := start(t, newFakeLog(), Config{})
	line := func(n int) string {
		return fmt.Sprintf(`{"id":"%d","entry":["%s"]}`+"\n", n, strings.Repeat("x", 3<<20))
	}
	for n := range cap(h.places) { // slow ones take every place
		c := h.dial()
		c.write(line(n)[:600_000])
	}
	poll(t, "the places to be taken", func() bool { return len(h.places) == cap(h.places) })
	began := time.Now()
	c := h.dial()
	c.write(line(9))
	c.want(ack(9, 1))
	if d := time.Since(began); d < longWait/2 {
		t.Errorf("a long line took %v while all places were taken, want %v or more", d, longWait)
	}
	poll(t, "one of the slow ones to be given up", func() bool { return h.Connections() == cap(h.places) })
}

// TestStalledReplaysUnderTLS: a replay that cannot be given up while its peer takes
// nothing counts with what the log keeps for it.
func TestStalledReplaysUnderTLS(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	log := openDisk(t)
	fill(t, log, 5000, 4000) // more than the sockets hold
	const peers, bound = 12, 4 << 20
	h := start(t, log, Config{TLS: certificates.Config(), MaxHeld: bound})
	for range cap(h.warm) {
		h.warm <- struct{}{}
	}
	for range peers {
		nc, err := tls.Dial("tcp", h.addr, authority.Client(t, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		nc.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
		newClient(t, nc).send(`{"from":1}`)
	}
	// One that begins to hold passes the bound for a moment.
	poll(t, "the oldest to be cut off", func() bool { return h.Connections() <= bound/readKept && h.held.Load() <= bound })
	h.mu.Lock()
	for c := range h.conns {
		c.cut(errCrowded)
	}
	h.mu.Unlock()
}
