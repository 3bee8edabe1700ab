package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// outcome is a writer's knowledge of an entry that it sent. All fields are zero if there
// was no reply.
type outcome struct {
	index   uint64 // where the entry is, if it was acknowledged
	refused bool   // the reply was "not stored: …"
	unknown bool   // the reply was "outcome unknown: …"
	err     string // the reply's error
}

// history is the knowledge of all writers of a test, over all runs of the server.
type history struct {
	mu      sync.Mutex
	writers map[string][]outcome // by writer, then by the entry's number
	pad     func(n int) int
	acks    atomic.Int64  // entries acknowledged
	highest atomic.Uint64 // the greatest index acknowledged
	replies atomic.Int64  // entries answered in any way
}

// newHistory returns a history of entries that are padded by pad(number) bytes, or by
// up to 200 if pad is nil.
func newHistory(pad func(n int) int) *history {
	if pad == nil {
		pad = func(n int) int { return n * 37 % 200 }
	}
	return &history{writers: make(map[string][]outcome), pad: pad}
}

// copy returns an independent copy of the history.
func (h *history) copy() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newHistory(h.pad)
	for name, outcomes := range h.writers {
		c.writers[name] = slices.Clone(outcomes)
	}
	c.acks.Store(h.acks.Load())
	c.replies.Store(h.replies.Load())
	return c
}

// entry returns the canonical form of a writer's nth entry.
func (h *history) entry(writer string, n int) string {
	return fmt.Sprintf(`{"n":%d,"pad":"%s","w":"%s"}`, n, strings.Repeat("x", h.pad(n)), writer)
}

// counts returns how many entries were acknowledged, were refused, and have an unknown
// outcome.
func (h *history) counts() (acked, refused, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, outcomes := range h.writers {
		for _, o := range outcomes {
			switch {
			case o.index > 0:
				acked++
			case o.refused:
				refused++
			default:
				unknown++
			}
		}
	}
	return acked, refused, unknown
}

// errors returns the texts of the errors in replies, and how often each occurred.
func (h *history) errors() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := make(map[string]int)
	for _, outcomes := range h.writers {
		for _, o := range outcomes {
			if o.err != "" {
				found[o.err]++
			}
		}
	}
	return found
}

// load describes the work of writers.
type load struct {
	Writers int // connections, 1 by default
	Depth   int // entries in flight on each, 1 by default
	Entries int // for each to send; 0: no limit
	Name    string
}

// running is a load in progress.
type running struct {
	writers sync.WaitGroup
	stop    chan struct{}
	once    sync.Once
}

// start starts the writers of l on the server at addr. Each runs until it has sent its
// entries, its connection ends, or halt is called. An invalid reply fails the test.
func (h *history) start(t testing.TB, addr string, l load) *running {
	t.Helper()
	r := &running{stop: make(chan struct{})}
	l.Writers, l.Depth = max(l.Writers, 1), max(l.Depth, 1)
	h.mu.Lock()
	base := len(h.writers)
	names := make([]string, l.Writers)
	for i := range names {
		names[i] = fmt.Sprintf("%s%d", l.Name, base+i)
		h.writers[names[i]] = nil
	}
	h.mu.Unlock()
	for _, name := range names {
		r.writers.Go(func() {
			w := &writer{h: h, name: name, replied: make(chan outcome, l.Depth)}
			if err := w.run(addr, l, r.stop); err != nil {
				t.Errorf("writer %s: %v", name, err)
			}
			h.mu.Lock()
			h.writers[name] = w.outcomes
			h.mu.Unlock()
		})
	}
	return r
}

// write runs a load to its end.
func (h *history) write(t testing.TB, addr string, l load) {
	t.Helper()
	h.start(t, addr, l).wait()
}

// wait waits until all writers have ended.
func (r *running) wait() { r.writers.Wait() }

// halt makes the writers stop sending, and waits until they have their replies.
func (r *running) halt() {
	r.once.Do(func() { close(r.stop) })
	r.writers.Wait()
}

// writer is one connection: one goroutine sends, another reads the replies.
type writer struct {
	h        *history
	name     string
	replied  chan outcome
	outcomes []outcome
}

// run writes until the load ends. The error reports a reply out of order, or one that
// is invalid. The end of the connection is no error.
func (w *writer) run(addr string, l load, stop chan struct{}) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil // killed already
	}
	defer c.Close()
	ended := make(chan error, 1)
	go func() {
		defer close(w.replied)
		ended <- w.replies(c)
	}()
	answered := 0
	take := func(o outcome, ok bool) bool {
		if ok {
			w.outcomes[answered] = o
			answered++
		}
		return ok
	}
	var line []byte
send:
	for n := 0; l.Entries == 0 || n < l.Entries; n++ {
		select {
		case <-stop:
			break send
		default:
		}
		line = append(line, fmt.Sprintf("{\"id\":\"%d\",\"entry\":%s}\n", n, w.h.entry(w.name, n))...)
		w.outcomes = append(w.outcomes, outcome{})
		if n+1-answered < l.Depth && len(line) < 64<<10 {
			continue // send together as many as may be in flight
		}
		if _, err := c.Write(line); err != nil {
			line = nil
			break send
		}
		line = line[:0]
		for n+1-answered >= l.Depth || len(w.replied) > 0 {
			if o, ok := <-w.replied; !take(o, ok) {
				break send
			}
		}
	}
	if len(line) > 0 {
		c.Write(line)
	}
	c.(*net.TCPConn).CloseWrite()
	for o := range w.replied {
		take(o, true)
	}
	return <-ended
}

// replies reads replies until the connection ends. They come in the order of the
// entries.
func (w *writer) replies(c net.Conn) error {
	lines := bufio.NewReaderSize(c, 64<<10)
	for n := 0; ; n++ {
		c.SetReadDeadline(time.Now().Add(patience))
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				return fmt.Errorf("no reply to entry %d in %v", n, patience)
			}
			return nil
		}
		var reply struct {
			ID    string
			Index uint64
			Error string
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return fmt.Errorf("reply to entry %d is %q: %v", n, line, err)
		}
		o := outcome{
			index: reply.Index, err: reply.Error,
			refused: strings.HasPrefix(reply.Error, "not stored: "),
			unknown: strings.HasPrefix(reply.Error, "outcome unknown: "),
		}
		if reply.ID != strconv.Itoa(n) || (o.index > 0) == (o.refused || o.unknown) {
			return fmt.Errorf("reply to entry %d is %q", n, line)
		}
		w.replied <- o
		w.h.replies.Add(1)
		if o.index > 0 {
			w.h.acks.Add(1)
			for was := w.h.highest.Load(); o.index > was && !w.h.highest.CompareAndSwap(was, o.index); {
				was = w.h.highest.Load()
			}
		}
	}
}
