package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// replicaRounds is REPLICA_ROUNDS, or few.
func replicaRounds(t testing.TB) int {
	t.Helper()
	s := os.Getenv("REPLICA_ROUNDS")
	if s == "" {
		return 6
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("REPLICA_ROUNDS is %q, want a number from 1 on", s)
	}
	return n
}

// seriesRounds is the number of kills that one source and one replica survive before the source
// is discarded.
const seriesRounds = 3

// TestReplicaKill kills the source, the replica, and the connection between them under load, over
// and over. In the end the source is killed and discarded, and the replica is promoted. With
// SYNC_REPLICAS=1 it has everything that was acknowledged; without, everything that it had
// reported as durable. In both cases every entry is at its index, and there are no others.
func TestReplicaKill(t *testing.T) {
	t.Parallel()
	total := replicaRounds(t)
	series := max(2, total/seriesRounds)
	for n := range series {
		sync := n%2 == 0
		name := fmt.Sprintf("series %d, without waiting for the replica", n+1)
		if sync {
			name = fmt.Sprintf("series %d, SYNC_REPLICAS=1", n+1)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			replicaSeries(t, max(1, total/series), sync)
		})
	}
}

func replicaSeries(t *testing.T, rounds int, sync bool) {
	h := newHistory(nil)
	link := newLink(t)
	sourceData, copyData := newData(t), newData(t)
	env := []string{"FAULT_SEGMENT_SIZE=65536", "FAULT_SETTLE_EVERY=5ms"}
	startSource := func() *process {
		with := env
		if sync {
			with = append(with[:len(with):len(with)], "SYNC_REPLICAS=1")
		}
		p := server(t, options{Data: sourceData, Env: with})
		link.to(p.addr)
		return p
	}
	startCopy := func() *process {
		return server(t, options{Data: copyData, Env: env, Args: []string{"replica", link.addr, "--name", "copy"}})
	}
	source, copied := startSource(), startCopy()
	kills := make(map[string]int)
	for range rounds {
		before := h.acks.Load()
		r := h.start(t, source.addr, killLoad)
		eventually(t, "the first acknowledgement", func() bool { return h.acks.Load() > before || source.gone() })
		for range 1 + rand.IntN(3) {
			// Otherwise the replica would never get far enough for its promotion to show anything.
			had := link.durable.Load()
			eventually(t, "the replica to store more", func() bool { return link.durable.Load() > had || source.gone() })
			moment(50 * time.Millisecond)
			switch rand.IntN(3) {
			case 0:
				kills["replica"]++
				copied.kill9()
				copied = startCopy()
			case 1:
				kills["connection"]++
				link.cut()
			case 2:
				kills["both at once"]++
				link.cut()
				copied.kill9()
				copied = startCopy()
			}
		}
		moment(150 * time.Millisecond)
		kills["source"]++
		source.kill9()
		r.wait()
		source = startSource()
	}
	// The source's last moment.
	before := h.acks.Load()
	r := h.start(t, source.addr, killLoad)
	eventually(t, "the first acknowledgement", func() bool { return h.acks.Load() > before || source.gone() })
	moment(200 * time.Millisecond)
	source.kill9()
	r.wait()
	if err := os.RemoveAll(sourceData); err != nil {
		t.Fatal(err)
	}
	if rand.IntN(2) == 0 {
		copied.kill9()
	} else {
		copied.clean()
	}
	link.close()
	if out, err := exec.Command(program(t), "promote", copyData).CombinedOutput(); err != nil {
		t.Fatalf("promote: %v: %s", err, out)
	}
	p := server(t, options{Data: copyData, Env: env})
	through := link.durable.Load()
	if sync {
		through = h.highest.Load()
	}
	head := verifyThrough(t, p.addr, h, through)
	if head < link.durable.Load() {
		t.Errorf("the replica ends at %d, and had said that %d is durable", head, link.durable.Load())
	}
	acked, refused, unknown := h.counts()
	t.Logf("%v; the replica has %d entries, the last acknowledged was %d, %d acknowledged, %d without a reply", kills, head, h.highest.Load(), acked, unknown)
	if refused > 0 {
		t.Errorf("%d entries were refused: %v", refused, h.errors())
	}
	// It is now a separate log, which stores new entries after all of these.
	if index := appendOne(t, p.addr); index != head+1 {
		t.Errorf("the first entry after the promotion has index %d, want %d", index, head+1)
	}
	p.clean()
	check(t, copyData)
}

// appendOne appends an entry and returns its index.
func appendOne(t *testing.T, addr string) uint64 {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(c, `{"id":"x","entry":{}}`)
	line, err := bufio.NewReader(c).ReadBytes('\n')
	var reply struct{ Index uint64 }
	if err != nil || json.Unmarshal(line, &reply) != nil || reply.Index == 0 {
		t.Fatalf("an append is answered %q, %v", line, err)
	}
	return reply.Index
}

// check runs fsck, which must find nothing.
func check(t *testing.T, data string) {
	t.Helper()
	if out, err := exec.Command(program(t), "fsck", data).CombinedOutput(); err != nil {
		t.Errorf("fsck: %v: %s", err, out)
	}
}

// link is a proxy between a replica and its source, whose address may change. It can be cut, and
// records the index through which the replica reports its log as durable.
type link struct {
	addr    string
	durable atomic.Uint64
	ln      net.Listener

	mu     sync.Mutex
	target string
	conns  map[net.Conn]struct{}
}

func newLink(t *testing.T) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: ln.Addr().String(), ln: ln, conns: make(map[net.Conn]struct{})}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go l.pass(c)
		}
	}()
	t.Cleanup(l.close)
	return l
}

// to sets the address of the source.
func (l *link) to(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = addr
}

// cut ends all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

func (l *link) close() {
	l.ln.Close()
	l.cut()
}

// pass forwards a connection.
func (l *link) pass(c net.Conn) {
	defer c.Close()
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	other, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer other.Close()
	l.mu.Lock()
	l.conns[c], l.conns[other] = struct{}{}, struct{}{}
	l.mu.Unlock()
	go func() {
		io.Copy(c, other)
		c.Close()
	}()
	lines := bufio.NewReader(c)
	for {
		line, err := lines.ReadBytes('\n')
		if digits, ok := bytes.CutPrefix(line, []byte(`{"durable":`)); ok && err == nil {
			n, _ := strconv.ParseUint(string(bytes.TrimRight(digits, "}\n")), 10, 64)
			if was := l.durable.Load(); n > was {
				l.durable.Store(n)
			}
		}
		if _, failed := other.Write(line); failed != nil || err != nil {
			return
		}
	}
}
