package cluster

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic describes the treatment of the data that one node sends to another.
type traffic struct {
	held   bool          // data waits, like lost packets: the connection stays open
	closed bool          // connections end, and new ones are refused
	delay  time.Duration // of all data
	rate   int           // bytes a second, 0 for no limit
}

// way is the direction from one node to another, on all connections.
type way struct {
	mu      sync.Mutex
	traffic traffic
	changed chan struct{} // closed when it changes
}

func (w *way) set(t traffic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traffic = t
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *way) now() (traffic, chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.traffic, w.changed
}

// network connects nodes, which use the addresses of its proxies to reach each other.
type network struct {
	spaces map[string]*space // by node
	ways   map[[2]string]*way

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[*joint]struct{}
}

// joint is a connection from one node to another, with its two ends.
type joint struct {
	from, to    string
	near, away  net.Conn
	began       time.Time
	there, back atomic.Int64 // bytes passed on
}

func (j *joint) close() {
	j.near.Close()
	j.away.Close()
}

// newNetwork returns the network of nodes that listen at addrs, each in its own space. In the other
// spaces, the address is that of a proxy.
func newNetwork(t testing.TB, addrs map[string]string) *network {
	t.Helper()
	n := &network{spaces: make(map[string]*space), ways: make(map[[2]string]*way), conns: make(map[*joint]struct{})}
	t.Cleanup(n.close)
	for name := range addrs {
		n.spaces[name] = newSpace(t)
	}
	for from := range addrs {
		for to := range addrs {
			if from != to {
				n.ways[[2]string{from, to}] = &way{changed: make(chan struct{})}
			}
		}
	}
	for pair := range n.ways {
		from, to := pair[0], pair[1]
		ln, err := n.spaces[from].listen(addrs[to])
		if err != nil {
			t.Fatal(err)
		}
		n.listeners = append(n.listeners, ln)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go n.pass(c, from, to, addrs[to])
			}
		}()
	}
	return n
}

// pass forwards a connection, treating each direction as its way says.
func (n *network) pass(c net.Conn, from, to, addr string) {
	defer c.Close()
	there, back := n.ways[[2]string{from, to}], n.ways[[2]string{to, from}]
	if t, _ := there.now(); t.closed {
		return
	}
	if t, _ := back.now(); t.closed {
		return
	}
	other, err := n.spaces[to].dial(addr)
	if err != nil {
		return
	}
	j := &joint{from: from, to: to, near: c, away: other, began: time.Now()}
	defer j.close()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.conns[j] = struct{}{}
	n.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { carry(c, other, there, &j.there); j.close() })
	both.Go(func() { carry(other, c, back, &j.back); j.close() })
	both.Wait()
	n.mu.Lock()
	delete(n.conns, j)
	n.mu.Unlock()
}

// carry copies from one connection to another, as w says.
func carry(from, to net.Conn, w *way, passed *atomic.Int64) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 64)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			size, err := from.Read(b)
			if err != nil {
				return
			}
			t, _ := w.now()
			select {
			case pieces <- piece{time.Now().Add(t.delay), b[:size]}:
			case <-ended:
				return
			}
		}
	}()
	for p := range pieces {
		t, changed := w.now()
		for t.held && !t.closed {
			<-changed
			t, changed = w.now()
		}
		if t.closed {
			return
		}
		time.Sleep(time.Until(p.due))
		if t.rate > 0 {
			time.Sleep(time.Duration(len(p.data)) * time.Second / time.Duration(t.rate))
		}
		if _, err := to.Write(p.data); err != nil {
			return
		}
		passed.Add(int64(len(p.data)))
	}
}

// set sets the treatment of the data that from sends to to.
func (n *network) set(from, to string, t traffic) {
	n.ways[[2]string{from, to}].set(t)
	if !t.closed {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for j := range n.conns {
		if j.from == from && j.to == to || j.from == to && j.to == from {
			j.close()
		}
	}
}

// out sets the treatment of all data that the node sends, and in of all data sent to it.
func (n *network) out(node string, t traffic) { n.some(0, node, t) }
func (n *network) in(node string, t traffic)  { n.some(1, node, t) }

func (n *network) some(end int, node string, t traffic) {
	for pair := range n.ways {
		if pair[end] == node {
			n.set(pair[0], pair[1], t)
		}
	}
}

// all sets the treatment of all data.
func (n *network) all(t traffic) {
	for pair := range n.ways {
		n.set(pair[0], pair[1], t)
	}
}

// hangUp ends the connections of a node, as if they had timed out.
func (n *network) hangUp(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for j := range n.conns {
		if j.from == node || j.to == node {
			j.close()
		}
	}
}

// String shows the connections, for a failed test.
func (n *network) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for j := range n.conns {
		fmt.Fprintf(&b, "%s to %s for %v: %d bytes there, %d back\n", j.from, j.to, time.Since(j.began).Round(time.Millisecond), j.there.Load(), j.back.Load())
	}
	return b.String()
}

func (n *network) close() {
	n.all(traffic{closed: true})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, ln := range n.listeners {
		ln.Close()
	}
	for j := range n.conns {
		j.close()
	}
}
