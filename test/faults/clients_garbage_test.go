package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// garbage is input from a hostile client, or from one that expects another server.
var garbage = []struct {
	name  string
	size  int // the most bytes to send
	piece func(random *rand.Rand) []byte
	// wants are the allowed beginnings of the first line of the answer.
	wants []string
}{
	{"line-without-end", 200 << 20, func(*rand.Rand) []byte { return bytes.Repeat([]byte("x"), 1<<20) },
		[]string{`{"error":"not stored: the line is over the limit`}},
	{"entry-without-end", 200 << 20, func(*rand.Rand) []byte { return bytes.Repeat([]byte(`{"id":"1","entry":["`), 50_000) },
		[]string{`{"error":"not stored: the line is over the limit`, `{"id":"1","error":"not stored: the line is over the limit`}},
	{"random-bytes", 200 << 20, func(random *rand.Rand) []byte {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}, []string{`{"error":"invalid JSON"}`}},
	{"zeros", 200 << 20, func(*rand.Rand) []byte { return make([]byte, 1<<20) },
		[]string{`{"error":"not stored: the line is over the limit`}},
	{"lines-that-are-no-messages", 2 << 20, func(*rand.Rand) []byte { return bytes.Repeat([]byte("[]\n"), 100_000) },
		[]string{`{"error":"invalid message: it is an array, want an object"}`}},
	{"empty-lines", 50 << 20, func(*rand.Rand) []byte { return bytes.Repeat([]byte("\n \r\n\t\n"), 100_000) }, nil},
	{"million-levels", 4 << 20, func(*rand.Rand) []byte {
		return []byte(`{"id":"deep","entry":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + "}\n")
	}, []string{`{"id":"deep","error":"not stored: `}},
	{"million-members-out-of-order", 15 << 20, func(*rand.Rand) []byte {
		b := []byte(`{"id":"members","entry":{`)
		for n := 1 << 24; len(b) < 15<<20; n-- {
			b = fmt.Appendf(b, `"%x":0,`, n)
		}
		return append(b, "\"\":0}}\n"...)
	}, []string{`{"id":"members","index":`}},
	{"another-protocol", 4 << 10, func(*rand.Rand) []byte { return []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") },
		[]string{`{"error":"invalid JSON"}`}},
	{"handshake", 4 << 10, func(*rand.Rand) []byte { return []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n") },
		[]string{`{"error":"invalid JSON"}`}},
}

// TestGarbage: whatever a client sends, it gets an error or a close, takes bounded
// memory, and does not keep the server from serving other clients.
func TestGarbage(t *testing.T) {
	p := server(t, options{Env: []string{"LOOSE_MAX=0"}})
	for _, g := range garbage {
		t.Run(g.name, func(t *testing.T) {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			answer := make(chan string, 1)
			go func() {
				lines := bufio.NewReader(c)
				first, err := lines.ReadString('\n')
				if err != nil {
					first = fmt.Sprintf("%q, %v", first, err)
				}
				answer <- first
				io.Copy(io.Discard, lines)
			}()
			random, sent := rand.New(rand.NewPCG(1, 2)), 0
			for sent < g.size {
				n, err := c.Write(g.piece(random))
				sent += n
				if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
					break // the server has hung up
				}
				if err != nil {
					t.Fatalf("after %d bytes: %v", sent, err)
				}
				if sent%(64<<20) < 1<<20 {
					if reply := roundTrip(t, p.addr); !strings.HasPrefix(reply, `{"id":"o","index":`) {
						t.Fatalf("another client got %s", reply)
					}
				}
			}
			c.(*net.TCPConn).CloseWrite()
			got := <-answer
			ok := len(g.wants) == 0
			for _, want := range g.wants {
				ok = ok || strings.HasPrefix(got, want)
			}
			if !ok {
				t.Errorf("after %d bytes the answer is %.200s, want %q", sent, got, g.wants)
			}
		})
	}
	p.checkMemory(clientsMemory)
	p.clean()
	fsck(t, p.data)
}

// TestReset: clients send entries and reset the connection before the replies, some
// during the sync of these entries. The stored entries are whole, and nothing else
// is affected.
func TestReset(t *testing.T) {
	h := newHistory(nil)
	o := options{Env: []string{"LOOSE_MAX=0"}}
	slow := canStrace()
	if slow {
		// Each sync takes 20 ms longer, so that resets happen during it.
		o.Wrap = []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=20000"}
	}
	p := server(t, o)
	const writers = 20
	for round := range scaled(t, 20) {
		for w := range writers {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%d-%d", round, w)
			var lines strings.Builder
			for n := range 5 {
				fmt.Fprintf(&lines, "{\"id\":\"%d\",\"entry\":%s}\n", n, h.entry(name, n))
			}
			h.mu.Lock()
			h.writers[name] = make([]outcome, 5) // their outcomes will be unknown
			h.mu.Unlock()
			if _, err := io.WriteString(c, lines.String()); err != nil {
				t.Fatal(err)
			}
			if w%2 == 0 {
				time.Sleep(time.Duration(w) * time.Millisecond) // during a sync, or between two
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		h.write(t, p.addr, load{Writers: 1, Depth: 4, Entries: 4, Name: fmt.Sprintf("o%d-", round)})
	}
	awaitNoConnections(t, p.addr)
	head := verify(t, p.addr, h)
	acked, _, unknown := h.counts()
	t.Logf("%d entries are in the log, %d were acknowledged, %d were sent and reset (delayed syncs: %v)", head, acked, unknown, slow)
	if head < uint64(acked) || int(head) == acked {
		t.Errorf("the log has %d entries, %d were acknowledged: no reset came after a sync", head, acked)
	}
	p.clean()
	recovered(t, p.data, h)
}
