package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// onceLoad is a group of clients that send every entry with "once", and send it again
// after each error and each lost connection until it has an index.
type onceLoad struct {
	addr    atomic.Pointer[string] // of the server, which may change
	running sync.WaitGroup
	ended   chan struct{} // closed when all entries have an index
	replies atomic.Int64
	retries atomic.Int64

	mu sync.Mutex
	at map[string]uint64 // the index of each entry that has been answered
}

const (
	onceClients = 16
	onceDepth   = 32 // entries in flight on a connection
)

// startOnce starts clients that send count entries each. Every fourth is sent by all
// clients, at about the same moment.
func startOnce(t *testing.T, count int) *onceLoad {
	l := &onceLoad{at: make(map[string]uint64), ended: make(chan struct{})}
	for client := range onceClients {
		var entries []string
		for n := range count {
			by := client
			if n%4 == 0 {
				by = -1
			}
			entries = append(entries, fmt.Sprintf(`{"by":%d,"n":%d,"pad":"%s"}`, by, n, strings.Repeat("x", n*37%200)))
		}
		l.running.Go(func() {
			deadline := time.Now().Add(10 * patience)
			for first := true; len(entries) > 0; first = false {
				if !first {
					l.retries.Add(1)
				}
				left, err := l.send(entries)
				if entries = left; err != nil {
					t.Error(err)
					return
				}
				if time.Now().After(deadline) {
					t.Errorf("%d entries have no index", len(entries))
					return
				}
			}
		})
	}
	go func() {
		l.running.Wait()
		close(l.ended)
	}()
	return l
}

// send sends entries over one connection until it ends, or an entry is refused, and returns
// the entries without an index. The error reports an invalid reply.
func (l *onceLoad) send(entries []string) (left []string, err error) {
	addr := l.addr.Load()
	if addr == nil {
		time.Sleep(time.Millisecond)
		return entries, nil
	}
	c, err := net.Dial("tcp", *addr)
	if err != nil {
		time.Sleep(time.Millisecond)
		return entries, nil
	}
	defer c.Close()
	lines := bufio.NewReader(c)
	for sent, answered := 0, 0; answered < len(entries); {
		var out []byte
		for ; sent < len(entries) && sent < answered+onceDepth; sent++ {
			out = fmt.Appendf(out, "{\"id\":\"%d\",\"entry\":%s,\"once\":true}\n", sent, entries[sent])
		}
		if _, err := c.Write(out); err != nil {
			return entries[answered:], nil
		}
		c.SetReadDeadline(time.Now().Add(patience))
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return entries[answered:], timedOut(err)
		}
		var reply struct {
			ID    string
			Index uint64
			Error string
		}
		if err := json.Unmarshal(line, &reply); err != nil || reply.ID != fmt.Sprint(answered) || (reply.Index == 0) == (reply.Error == "") {
			return nil, fmt.Errorf("reply to entry %d is %q, %v", answered, line, err)
		}
		if reply.Index == 0 {
			time.Sleep(time.Millisecond)
			return entries[answered:], nil
		}
		l.mu.Lock()
		if was := l.at[entries[answered]]; was != 0 && was != reply.Index {
			err = fmt.Errorf("%s is at index %d, and was at %d", entries[answered], reply.Index, was)
		}
		l.at[entries[answered]] = reply.Index
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		l.replies.Add(1)
		answered++
	}
	return nil, nil
}

// serve tells the clients that p serves the log now, and waits for its replies.
func (l *onceLoad) serve(t *testing.T, p *process) {
	before := l.replies.Load()
	addr := p.addr
	l.addr.Store(&addr)
	eventually(t, "an entry has its index", func() bool { return l.replies.Load() > before || l.done() })
}

// done reports whether all entries have an index.
func (l *onceLoad) done() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// check waits for the clients and checks that the log has each entry once, at the index
// in their replies.
func (l *onceLoad) check(t *testing.T, addr string) {
	t.Helper()
	l.addr.Store(&addr)
	<-l.ended
	index := uint64(0)
	if err := readLog(addr, func(line string) error {
		index++
		entry, ok := strings.CutPrefix(line, fmt.Sprintf(`{"index":%d,"entry":`, index))
		entry = strings.TrimSuffix(entry, "}\n")
		if at := l.at[entry]; !ok || at != index {
			return fmt.Errorf("line %q: its entry was answered with index %d", line, at)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if index != uint64(len(l.at)) {
		t.Errorf("the log has %d entries, want the %d that the clients sent", index, len(l.at))
	}
}

// TestOnce: clients that resend everything until it is answered store each entry
// exactly once, whatever fails meanwhile.
func TestOnce(t *testing.T) {
	env := []string{"FAULT_SEGMENT_SIZE=65536", "FAULT_SETTLE_EVERY=5ms", "LOOSE_MAX=200"}
	t.Run("kill", func(t *testing.T) {
		// A long run has 100 rounds, so many that it needs several logs.
		for left := scaled(t, 10); left > 0; left -= logRounds {
			data := newData(t)
			l := startOnce(t, 400)
			for range min(left, logRounds) {
				p := server(t, options{Data: data, Env: env})
				l.serve(t, p)
				moment(150 * time.Millisecond)
				p.kill9()
			}
			p := server(t, options{Data: data, Env: env})
			l.check(t, p.addr)
			p.clean()
			fsck(t, data)
			t.Logf("%d connections had to be made again", l.retries.Load())
			if l.retries.Load() == 0 {
				t.Error("nothing was sent again")
			}
		}
	})
	t.Run("full-disk", func(t *testing.T) {
		needTmpfs(t)
		dir := newTmpfs(t, "size=64m")
		p := server(t, options{Data: filepath.Join(dir, "data"), Env: env})
		l := startOnce(t, 1000)
		l.serve(t, p)
		for range 3 {
			fill(t, dir)
			before := l.retries.Load()
			eventually(t, "an entry is refused", func() bool { return l.retries.Load() > before || l.done() })
			makeRoom(t, dir)
		}
		l.check(t, p.addr)
		p.clean()
		fsck(t, p.data)
		if l.retries.Load() == 0 {
			t.Error("nothing was refused")
		}
	})
	t.Run("failed-sync", func(t *testing.T) {
		needAttach(t)
		p := server(t, options{Env: env})
		data := p.data
		l := startOnce(t, 2000)
		l.serve(t, p)
		for range 3 {
			i := inject(t, p, "fdatasync", "error=EIO")
			p.await("failed")
			i.mustEnd()
			if code := p.stop(syscall.SIGTERM); code != 1 {
				t.Errorf("exit code is %d, want 1", code)
			}
			p = server(t, options{Data: data, Env: env})
			l.serve(t, p)
		}
		l.check(t, p.addr)
		p.clean()
		fsck(t, data)
	})
}
