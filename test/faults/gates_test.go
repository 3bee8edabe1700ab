package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The bounds in docs/RELIABILITY.md.
const (
	// idleMemory is the limit of resident memory of an idle connection, in bytes.
	idleMemory = 32 << 10
	// floodedLog is the limit of log output for a connection, in bytes.
	floodedLog = 8 << 10
	// stopTime is the limit of the time from the signal until the server has ended.
	stopTime = 10 * time.Second
)

// TestIdleConnectionMemory: idle connections release their memory. 2,000 of them that
// have each sent and received take at most idleMemory each.
func TestIdleConnectionMemory(t *testing.T) {
	const connections = 2000
	needDescriptors(t, 4*connections+100)
	long := strings.Repeat("x", 100_000)
	for name, do := range map[string]func(i int, c net.Conn) error{
		"wrote": func(i int, c net.Conn) error {
			return answered(c, fmt.Sprintf(`{"id":"%d","entry":{"n":%d}}`, i, i), `{"id":`)
		},
		"wrote-100-KB": func(i int, c net.Conn) error {
			return answered(c, fmt.Sprintf(`{"id":"%d","entry":{"n":"%s"}}`, i, long), `{"id":`)
		},
		"read": func(i int, c net.Conn) error {
			return answered(c, `{"from":1,"read":1}`, `{"index":1,`)
		},
		"follows": func(i int, c net.Conn) error {
			return answered(c, `{"from":1}`, `{"index":1,`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := server(t, options{Env: []string{"LOOSE_MAX=0", "METRICS=127.0.0.1:0", "PPROF=1"}})
			fillLog(t, p.addr, 1, 10)
			awaitNoConnections(t, p.addr)
			quiet := p.memory("VmRSS")
			dialMany(t, p.addr, connections, do)
			each := func() int { return (p.memory("VmRSS") - quiet) / connections }
			first := each()
			// The runtime returns garbage to the system within a minute or two.
			if !poll(2*patience, func() bool {
				time.Sleep(time.Second / 2)
				p.collectGarbage()
				return each() <= idleMemory
			}) {
				t.Errorf("an idle connection takes %d bytes, want %d at most", each(), idleMemory)
			}
			t.Logf("%d bytes for each of %d connections, %d right after they have spoken", each(), connections, first)
		})
	}
}

// collectGarbage makes the server collect garbage, as it does at least every two minutes.
// The server must have PPROF.
func (p *process) collectGarbage() {
	p.t.Helper()
	e := p.await("metrics")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://%v:%v/debug/pprof/heap?gc=1", e["address"], e["port"]))
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
}

// answered sends a line and checks how the answer begins.
func answered(c net.Conn, line, begins string) error {
	reply, err := ask(c, line)
	if err == nil && !strings.HasPrefix(reply, begins) {
		err = fmt.Errorf("reply is %.200s", reply)
	}
	return err
}

// TestLogBytesPerByteSent: peers that send invalid messages without end do not fill the
// log: each adds at most floodedLog to it, however much it sends. All other connections
// are still logged.
func TestLogBytesPerByteSent(t *testing.T) {
	const (
		peers  = 8
		lines  = 100_000 // of each peer, of two bytes
		others = 300
	)
	needDescriptors(t, others+100)
	p := server(t, options{Env: []string{"LOG_LEVEL=debug", "LOOSE_MAX=0"}})
	talk := func(c net.Conn) error { return answered(c, `{"stat":true}`, `{"stat":`) }
	dialMany(t, p.addr, others, func(_ int, c net.Conn) error { return talk(c) }).close()
	awaitNoConnections(t, p.addr)
	quiet, before := p.logSize(), len(p.logged("connected")) // the lines of other connections

	var flooding sync.WaitGroup
	started := make(chan struct{}, peers)
	for range peers {
		flooding.Go(func() {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			flooding.Go(func() {
				io.Copy(c, io.LimitReader(endless("1\n"), 2*lines)) // the server may cut it off
				c.(*net.TCPConn).CloseWrite()
			})
			started <- struct{}{}
			io.Copy(io.Discard, c) // until everything is answered
		})
	}
	for range peers {
		<-started
	}
	var mu sync.Mutex
	ports := make(map[string]bool)
	dialMany(t, p.addr, others, func(_ int, c net.Conn) error {
		mu.Lock()
		ports[fmt.Sprint(c.LocalAddr().(*net.TCPAddr).Port)] = true
		mu.Unlock()
		return talk(c)
	}).close()
	flooding.Wait()
	awaitNoConnections(t, p.addr)
	time.Sleep(time.Second) // lines that are counted may be logged later
	grown := p.logSize() - 2*quiet
	t.Logf("%d bytes of log for %d bytes sent over %d connections", grown, peers*lines*2, peers)
	if most := peers * floodedLog; grown > most {
		t.Errorf("the log has grown by %d bytes, want %d at most", grown, most)
	}
	for _, e := range p.logged("connected")[before:] {
		delete(ports, fmt.Sprint(e["port"]))
	}
	if len(ports) > 0 {
		t.Errorf("%d of %d other connections are not in the log", len(ports), others)
	}
	p.clean()
}

// endless is a reader that repeats a string forever.
type endless string

func (e endless) Read(b []byte) (n int, err error) {
	for n+len(e) <= len(b) {
		n += copy(b[n:], e)
	}
	return n, nil
}

// logSize returns how many bytes the server has logged so far.
func (p *process) logSize() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

// TestTimeToStop: a server ends within stopTime of SIGTERM, however much 16 writers have
// in flight and however slow the disk is. Appends that cannot become durable in time are
// refused as not stored, replies are in order, and the exit code is 0.
func TestTimeToStop(t *testing.T) {
	needAttach(t)
	for name, delay := range map[string]time.Duration{
		"syncs-of-0.2-s": 200 * time.Millisecond,
		"syncs-of-1-s":   time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for most of the time
			h := newHistory(func(int) int { return 4000 })
			p := server(t, options{Env: []string{"LOOSE_MAX=0"}})
			i := inject(t, p, "fdatasync", fmt.Sprintf("delay_enter=%d", delay.Microseconds()))
			writers := h.start(t, p.addr, load{Writers: 16, Depth: 2000})
			eventually(t, "the first acknowledgements", func() bool { return h.acks.Load() > 0 })
			time.Sleep(3 * time.Second) // until much is in flight
			signalled := time.Now()
			p.signal(syscall.SIGTERM)
			select {
			case <-p.exit:
			case <-time.After(patience):
			}
			took := time.Since(signalled)
			if !p.gone() {
				p.kill9()
				t.Errorf("after %v the server has not ended", took)
			} else if code := p.wait(); code != 0 || took > stopTime {
				t.Errorf("the server has ended after %v with exit code %d, want %v at most and 0: %s", took, code, stopTime, p.stderr())
			}
			writers.wait()
			i.mustEnd()
			acked, refused, unknown := h.counts()
			t.Logf("ended after %v; %d acknowledged, %d refused, %d without a reply", took, acked, refused, unknown)
			recovered(t, p.data, h)
		})
	}
}
