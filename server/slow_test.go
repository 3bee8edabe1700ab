package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An ack does not wait for the end of a replay, however slow the peer.
func TestAckDuringAReplay(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	const entries, size = 50_000, 1000 // 50 MB
	fill(t, log, entries, size)
	c := start(t, log, Config{}).dial()
	c.nc.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.send(`{"from":1}`)
	c.line()
	c.send(`{"id":"1","entry":{"n":1}}`)
	poll(t, "the write to be stored", func() bool { head, _ := log.Head(t.Context()); return head == entries+1 })
	// The contents of the sockets' buffers come first, and no more.
	for n := 2; ; n++ {
		line := c.line()
		if line == ack(1, entries+1) {
			t.Logf("the ack came after %d of %d entries", n-1, entries)
			break
		}
		if n > entries/2 {
			t.Fatalf("after %d entries of %d there is no ack", n, entries)
		}
	}
	c.half()
	var last string
	for {
		line, err := c.r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = line
	}
	if last != current+"\n" && last != entry(1, entries+1)+"\n" {
		t.Errorf("the last line is %s, want %s, or the entry after it", last, current)
	}
}

// flood sends s again and again until the server takes no more, and returns how many
// bytes it has taken.
func flood(t *testing.T, nc net.Conn, s string, limit int) (sent int) {
	t.Helper()
	block := []byte(strings.Repeat(s, 1+(64<<10)/len(s)))
	for sent < limit {
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := nc.Write(block)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return sent
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("the server takes input for ever from a peer that takes no output: %d MB", sent>>20)
	return sent
}

// A peer that takes nothing costs bounded memory, whatever it sends.
func TestPeersThatTakeNothing(t *testing.T) {
	for name, input := range map[string]string{
		"writes":           "{\"id\":\"0123456789\",\"entry\":[]}\n",
		"refused writes":   "{\"id\":\"1\",\"entry\":{\"a\":1,\"a\":1}}\n",
		"invalid messages": "{}\n",
		"short ones":       "1\n",
		"reads":            "{\"from\":1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			log := openMemory(t)
			h := start(t, log, Config{})
			c := h.dial()
			before := heap()
			sent := flood(t, c.nc, input, 24<<20)
			// The log itself, in memory here, takes no more than what was sent.
			if grown := heap() - before; grown > int64(sent)+32<<20 {
				t.Errorf("%d MB of input cost %d MB of memory", sent>>20, grown>>20)
			}
			// Others are not delayed.
			other := h.dial()
			other.send(`{"id":"o","entry":[]}`)
			if line := other.line(); !strings.HasPrefix(line, `{"id":"o","index":`) {
				t.Errorf("another connection got %s", line)
			}
			c.nc.Close()
		})
	}
}

// Many of them together, with messages far shorter than their answers, cost no more than
// replies may take.
func TestManyPeersThatTakeNothing(t *testing.T) {
	noLeaks(t)
	h := start(t, openMemory(t), Config{})
	const peers = 60
	before := heap()
	input := []byte(strings.Repeat("1\n", 128<<10))
	var sending sync.WaitGroup
	for range peers {
		c := h.dial()
		c.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		sending.Go(func() {
			c.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
			c.nc.Write(input)
		})
	}
	sending.Wait()
	if grown := heap() - before; grown > 3*allUnsent {
		t.Errorf("%d peers cost %d MB of memory", peers, grown>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSlowReadersDelayNobody(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	h := start(t, log, Config{TailCache: 1 << 20})
	for range 5 { // at the head
		c := h.dial()
		c.send(`{"from":1}`)
		c.want(current)
	}
	const entries, size = 20_000, 1000
	fill(t, log, entries, size)
	for range 5 { // in the history
		c := h.dial()
		c.send(`{"from":1}`)
		c.line()
	}
	before := heap()
	c := h.dial()
	c.send(fmt.Sprintf(`{"from":%d}`, entries))
	c.line()
	c.want(current)
	for n := 1; n <= 200; n++ {
		c.append(n, 1)
		c.want(ack(n, entries+n), entry(n, entries+n))
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("slow readers made the heap grow by %d MB", grown>>20)
	}
}

func TestWriteTimeout(t *testing.T) {
	const timeout = time.Minute
	pad := `"` + strings.Repeat("x", 1000) + `"`
	serve := func(t *testing.T) (peer net.Conn, closed chan struct{}) {
		log := newFakeLog()
		for range 1000 { // 1 MB
			log.put(t, "["+pad+"]")
		}
		peer, nc := net.Pipe()
		s := New(log, Config{WriteTimeout: timeout})
		closed = make(chan struct{})
		go func() { defer close(closed); s.ServeConn(nc) }()
		if _, err := io.WriteString(peer, "{\"from\":1}\n"); err != nil {
			t.Fatal(err)
		}
		return peer, closed
	}
	t.Run("a peer that takes nothing is dropped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			peer, closed := serve(t)
			from := time.Now()
			<-closed
			if d := time.Since(from); d < timeout*7/8 || d > 2*timeout {
				t.Errorf("it was dropped after %v, want about %v", d, timeout)
			}
			if _, err := peer.Read(make([]byte, 1)); err == nil {
				t.Error("the connection is still open")
			}
		})
	})
	t.Run("a peer that takes a little is not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			peer, closed := serve(t)
			var got bytes.Buffer
			buf := make([]byte, 64<<10)
			for range 200 {
				time.Sleep(timeout * 3 / 4)
				if _, err := io.CopyN(&got, peer, 100); err != nil {
					t.Fatalf("after %d bytes: %v", got.Len(), err)
				}
			}
			for !bytes.HasSuffix(got.Bytes(), []byte(current+"\n")) { // and continues without a loss
				n, err := peer.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got.Write(buf[:n])
			}
			lines := strings.Split(got.String(), "\n")
			if len(lines) != 1002 {
				t.Fatalf("%d lines, want 1002", len(lines))
			}
			for n, line := range lines[:1000] {
				if want := fmt.Sprintf(`{"index":%d,"entry":[%s]}`, n+1, pad); line != want {
					t.Fatalf("line %d is %.60s… of %d bytes, want %.60s…", n+1, line, len(line), want)
				}
			}
			peer.Close()
			<-closed
		})
	})
	t.Run("silence is no reason", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			peer, nc := net.Pipe()
			s := New(newFakeLog(), Config{WriteTimeout: timeout})
			closed := make(chan struct{})
			go func() { defer close(closed); s.ServeConn(nc) }()
			buf := make([]byte, 2*len(notMessage))
			for range 3 {
				time.Sleep(100 * timeout)
				io.WriteString(peer, "{}\n")
				n, err := peer.Read(buf)
				if err != nil || string(buf[:n]) != notMessage+"\n" {
					t.Fatalf("got %q, %v", buf[:n], err)
				}
			}
			peer.Close()
			<-closed
		})
	})
}
