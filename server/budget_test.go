package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
)

// mixed appends count entries, some of which are longer than a socket takes at once, and returns the
// line of each.
func mixed(t *testing.T, log Log, count int) (lines []string) {
	t.Helper()
	done := make(chan error, count)
	for n := 1; n <= count; n++ {
		size := n * 131 % 2000
		if n%97 == 0 {
			size = 700_000
		}
		entry := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat(string(rune('a'+n%26)), size))
		log.Append([]byte(entry+"\n"), 1, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
		lines = append(lines, fmt.Sprintf(`{"index":%d,"entry":%s}`, n, entry))
	}
	for range count {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// inUse returns how many bytes of the budget are in use.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// A replay that waited for its peer continues where it was, to the byte.
func TestStalledReplay(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	lines := mixed(t, log, 2000)
	h := start(t, log, Config{})
	c := h.dial()
	c.nc.(*net.TCPConn).SetReadBuffer(128 << 10)
	poll(t, "the connection", func() bool { return h.Connections() == 1 })
	h.mu.Lock()
	for conn := range h.conns {
		conn.setWriteBuffer(t, 64<<10) // less than is gathered
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
	if n := len(h.throttle.reads); n > 0 {
		t.Errorf("%d replays may read, and none does", n)
	}
	c.nc.Close()
}

// A waiting replay notices that its peer is gone, even if nothing more is read from it.
func TestStalledReplayOfAPeerThatIsGone(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	fill(t, log, 20_000, 1000)
	h := start(t, log, Config{})
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

// When peers hold too much memory, those that have been idle the longest are cut, and
// no others.
func TestMemoryThatPeersHold(t *testing.T) {
	noLeaks(t)
	const bound = 8 << 20
	h := start(t, openFake(t), Config{MaxHeld: bound})
	other := h.dial()
	var peers []*client
	const lines = 30
	for n := range lines {
		c := h.dial()
		before := h.counts.received.Load()
		c.write(`{"id":"1","entry":["` + strings.Repeat("x", 200_000)) // and never the rest
		poll(t, "the line to arrive", func() bool { return h.counts.received.Load() >= before+200_000 })
		if held := h.memory.inUse(); held > bound+2<<20 { // received while others are cut off
			t.Fatalf("%d bytes are held after %d lines, want little more than %d at any time", held, n+1, bound)
		}
		poll(t, fmt.Sprintf("%d bytes at most to be held after %d lines", bound, n+1), func() bool { return h.memory.inUse() <= bound })
		peers = append(peers, c)
		other.append(n, 1)
		other.want(ack(n, n+1))
	}
	if _, err := io.ReadAll(peers[0].r); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the oldest: %v", err)
	}
	last := peers[len(peers)-1]
	last.write("\"]}\n")
	last.want(ack(1, lines+1))
	for _, c := range peers {
		c.nc.Close()
	}
	poll(t, "nothing held", func() bool { return h.memory.inUse() == 0 })
}

// longLine returns a write of roughly size bytes.
func longLine(id string, size int) string {
	return fmt.Sprintf(`{"id":"%s","entry":["%s"]}`+"\n", id, strings.Repeat("x", size))
}

// A long line waits if others have taken all memory, and one of those whose peer has stopped sending is
// cut for it.
func TestLongLineWaits(t *testing.T) {
	noLeaks(t)
	h := start(t, openFake(t), Config{MaxHeld: 4 << 20})
	const stalled = 4
	for range stalled { // each takes 600 kB or more for a line, and as much for its canonical form
		c := h.dial()
		c.write(longLine("", 3<<20)[:600_000])
	}
	poll(t, "the memory to be taken", func() bool { return h.memory.inUse() > 3<<20 })
	began := time.Now()
	c := h.dial()
	c.write(longLine("9", 3<<20))
	c.want(ack(9, 1))
	if d := time.Since(began); d < stallMax/2 {
		t.Errorf("a long line took %v while all memory was taken, want %v or more", d, stallMax)
	}
	poll(t, "some of the stalled ones to be given up", func() bool { return h.Connections() < 1+stalled })
}

// TestStalledLinesDelayNobody: connections that stop in the middle of a long line do not delay the
// others, however many there are.
func TestStalledLinesDelayNobody(t *testing.T) {
	noLeaks(t)
	h := start(t, openFake(t), Config{MaxEntry: 1 << 20, MaxHeld: 8 << 20})
	begun := longLine("", 1<<20)[:400_000]
	for range 20 { // more than there is memory for
		c := h.dial()
		go io.WriteString(c.nc, begun)
	}
	time.Sleep(stallMax * 3 / 2)
	for n := range 3 {
		began := time.Now()
		c := h.dial()
		c.write(longLine(fmt.Sprint(n), 200_000))
		c.want(ack(n, n+1))
		if d := time.Since(began); d > 5*stallMax {
			t.Errorf("a line of 200 kB took %v beside stalled ones", d)
		}
	}
}

// TestSteadyLinesAreNotCut: lines that arrive slowly but steadily wait for each other, and all of them
// get through, in too little memory for two of them.
func TestSteadyLinesAreNotCut(t *testing.T) {
	noLeaks(t)
	h := start(t, openFake(t), Config{MaxHeld: 4 << 20})
	var all sync.WaitGroup
	for n := range 4 {
		c := h.dial()
		all.Go(func() {
			line := longLine(fmt.Sprint(n), 1<<20)
			for len(line) > 0 {
				piece := min(len(line), 24<<10) // in total longer than stallMax
				if _, err := io.WriteString(c.nc, line[:piece]); err != nil {
					t.Errorf("line %d was cut: %v", n, err)
					return
				}
				line = line[piece:]
				time.Sleep(50 * time.Millisecond)
			}
			if got, err := c.r.ReadString('\n'); !strings.HasPrefix(got, fmt.Sprintf(`{"id":"%d","index":`, n)) {
				t.Errorf("line %d got %q, %v", n, got, err)
			}
		})
	}
	all.Wait()
	poll(t, "nothing in use", func() bool { return h.memory.inUse() == 0 })
}

// countedReads is a log that knows how many calls of Read are under way, and were at most.
type countedReads struct {
	Log
	mu        sync.Mutex
	now, most int
}

func (l *countedReads) Read(ctx context.Context, from, through uint64, fn readFunc) error {
	l.count(1)
	defer l.count(-1)
	return l.Log.Read(ctx, from, through, fn)
}

func (l *countedReads) count(n int) (most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += n
	l.most = max(l.most, l.now)
	return l.most
}

// TestReplaysLetGo: replays that wait, for a turn or for their peers, keep what the log has read for
// them only within half of the budget. None is cut for it, and each continues where it was.
func TestReplaysLetGo(t *testing.T) {
	noLeaks(t)
	const peers, entries, keep = 40, 1000, 4
	const out = flushAt + flushAt/2
	log := &countedReads{Log: openDisk(t)}
	fill(t, log, entries, 1000) // eight writes
	h := start(t, log, Config{MaxHeld: peers*out + 2*keep*(readKeeps+out)})
	h.throttle.reads = make(chan struct{}, 1)
	var clients []*client
	for range peers {
		c := h.dial()
		c.nc.(*net.TCPConn).SetReadBuffer(64 << 10)
		clients = append(clients, c)
	}
	poll(t, "the connections", func() bool { return h.Connections() == peers })
	h.mu.Lock()
	for conn := range h.conns {
		conn.setWriteBuffer(t, 64<<10)
	}
	h.mu.Unlock()
	for _, c := range clients {
		c.send(`{"from":1}`)
	}
	poll(t, "the replays to stall", func() bool { return h.memory.inUse() >= peers*out })
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for n := 1; n <= entries; n++ {
				if line, want := c.line(), fmt.Sprintf(`{"index":%d,"entry":{"n":%d,`, n, n); !strings.HasPrefix(line, want) {
					t.Errorf("line %d is %.60s", n, line)
					return
				}
			}
			c.want(current)
		})
	}
	all.Wait()
	poll(t, "nothing in use", func() bool { return h.memory.inUse() == 0 })
	if most, bound := log.count(0), int(h.memory.max/2/(readKeeps+out))+cap(h.throttle.reads); most > bound {
		t.Errorf("%d replays kept what was read for them, want %d at most", most, bound)
	}
}

// TestStalledReplaysAreBounded: a replay counts with the output that its peer does not take.
func TestStalledReplaysAreBounded(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) { testStalledReplays(t, secure) })
	}
}

func testStalledReplays(t *testing.T, secure bool) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	log := openDisk(t)
	fill(t, log, 5000, 4000) // more than the sockets hold
	const peers, bound = 12, 1 << 20
	config := Config{MaxHeld: bound}
	if secure {
		config.TLS = certificates.Config()
	}
	h := start(t, log, config)
	for range peers {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.(*net.TCPConn).SetReadBuffer(64 << 10)
		if secure {
			client := authority.Client(t, "", "")
			client.ServerName = "127.0.0.1"
			nc = tls.Client(nc, client)
		}
		newClient(t, nc).send(`{"from":1}`)
	}
	// A connection that begins to hold memory exceeds the bound for a moment.
	poll(t, "the oldest to be cut off", func() bool { return h.Connections() <= bound/flushAt && h.memory.inUse() <= bound })
	h.mu.Lock()
	for c := range h.conns {
		c.cut(errStalled)
	}
	h.mu.Unlock()
}

// heldBy gives a peer a share of b, n bytes, and keeps it waiting for waits; the context ends when the
// connection is cut.
func heldBy(t *testing.T, b *budget, n int64, waits time.Duration) (*share, context.Context) {
	t.Helper()
	raw, peer := net.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { raw.Close(); peer.Close(); cancel(nil) })
	s := &share{conn: &conn{raw: raw, ctx: ctx, cancel: cancel}, epoch: time.Now().Add(-time.Hour)}
	b.mu.Lock()
	b.resize(s, n)
	b.mu.Unlock()
	s.since.Store(int64(time.Since(s.epoch) - waits))
	return s, ctx
}

// TestBudgetCuts: output that grows beyond the budget causes the slowest to be cut. Memory that is
// returned causes no cut, even while a line, or parsing one, is beyond the budget; and a share beyond
// the budget takes nothing from the others.
func TestBudgetCuts(t *testing.T) {
	t.Parallel()
	const bound = 1000
	for _, tt := range []struct {
		name      string
		over      int64 // given to one share beyond the budget
		counted   int64
		from, to  int64 // what a connection holds, before and after
		slow, cut bool
	}{
		{name: "grows within the budget", from: 100, to: 400, slow: true},
		{name: "grows beyond it", from: 100, to: 700, slow: true, cut: true},
		{name: "shrinks, one line is beyond it", over: 900, from: 300, to: 100},
		{name: "shrinks to nothing, one line is beyond it", over: 900, from: 300},
		{name: "shrinks, a line is parsed", counted: 900, from: 300, to: 100},
		{name: "grows, one line is beyond it", over: 900, from: 100, to: 300},
		{name: "grows too much, one line is beyond it", over: 900, from: 100, to: 700, slow: true, cut: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &budget{max: bound, shares: make(map[*share]struct{})}
			waits := time.Millisecond
			if tt.slow {
				waits = time.Minute
			}
			_, peer := heldBy(t, b, 400, waits)
			changing, itself := heldBy(t, b, tt.from, 0)
			changing.since.Store(0)
			b.count(tt.counted)
			var line context.Context = t.Context()
			if tt.over > 0 {
				b.over, line = heldBy(t, b, tt.over, 0)
				b.over.since.Store(0)
			}
			b.hold(changing, tt.to)
			if cut := peer.Err() != nil; cut != tt.cut {
				t.Errorf("a peer that has kept the server waiting for %v is cut: %v, want %v", waits, cut, tt.cut)
			}
			if itself.Err() != nil || line.Err() != nil {
				t.Error("a connection that does not wait for its peer is cut")
			}
		})
	}
}
