package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/internal/porttest"
	"tcp-log-server/server"
)

// patience is how long a test waits for something that must happen: long, since on a busy machine connections
// are cut and remade hundreds of times.
// connections are cut and made again hundreds of times.
const patience = time.Minute

// running matches the stack of a goroutine of a client.
var running = regexp.MustCompile(`tcp-log-server/client\.\(\*`)

// stacks returns the stacks of all goroutines. It does not begin with a large buffer, which the race detector
// takes long to make.
func stacks() string {
	for buf := make([]byte, 64<<10); ; buf = make([]byte, 2*len(buf)) {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return string(buf[:n])
		}
	}
}

// noLeaks makes the test fail if goroutines of a client outlive it. Call it first.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left []string
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			left = nil
			for _, stack := range strings.Split(stacks(), "\n\n")[1:] {
				if running.MatchString(stack) {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				break
			}
		}
		t.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
	})
}

// patient returns a context that ends a test that hangs.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// host is a real server, which can be stopped and started again.
type host struct {
	t      testing.TB
	log    *engine.Log
	config server.Config
	addr   string
	srv    *server.Server
	served chan error
}

// serve starts a server with a log in memory, until the test's end.
func serve(t testing.TB) *host { return serveWith(t, server.Config{}) }

func serveWith(t testing.TB, config server.Config) *host {
	t.Helper()
	log, err := engine.Open(engine.NewConfig(engine.Memory))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, log: log, config: config, addr: porttest.Addr(t)}
	h.start()
	t.Cleanup(func() {
		h.stop()
		log.Close()
	})
	return h
}

func (h *host) start() {
	h.t.Helper()
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.srv, h.served = server.New(h.log, h.config), make(chan error, 1)
	go func() { h.served <- h.srv.Serve(ln) }()
}

func (h *host) stop() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.srv.Shutdown(ctx); err != nil {
		h.t.Errorf("Shutdown: %v", err)
	}
	if err := <-h.served; !errors.Is(err, server.ErrServerClosed) {
		h.t.Errorf("Serve: %v", err)
	}
	h.served <- server.ErrServerClosed // for a second stop
}

// dial makes a client that is closed at the test's end.
func dial(t testing.TB, addr string, options client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(context.Background(), addr, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// fill appends the entries {"n":1} … {"n":count}.
func fill(t testing.TB, c *client.Client, from, count int) {
	t.Helper()
	var wg sync.WaitGroup
	for n := from; n < from+count; n++ {
		wg.Add(1)
		err := c.AppendAsync(context.Background(), numbered(n), func(index uint64, err error) {
			if err != nil || index != uint64(n) {
				t.Errorf("entry %d: index %d, error %v", n, index, err)
			}
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func numbered(n int) []byte { return fmt.Appendf(nil, `{"n":%d}`, n) }

// peer is a scripted server: each connection is given to the next of the scripts,
// which closes it by returning; with no script left connections are refused.
func peer(t testing.TB, scripts ...func(p *conversation)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		defer ln.Close()
		for _, script := range scripts {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				script(&conversation{t: t, nc: nc, r: bufio.NewReaderSize(nc, 64<<10)})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// conversation is one connection from the scripted server's side.
type conversation struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// line receives a line; ok is false at the connection's end.
func (p *conversation) line() (line string, ok bool) {
	s, err := p.r.ReadString('\n')
	return strings.TrimSuffix(s, "\n"), err == nil
}

// want receives the lines.
func (p *conversation) want(lines ...string) bool {
	for _, want := range lines {
		if got, ok := p.line(); got != want {
			p.t.Errorf("the client sends %q (%v), want %q", got, ok, want)
			return false
		}
	}
	return true
}

// say sends lines.
func (p *conversation) say(lines ...string) {
	io.WriteString(p.nc, strings.Join(lines, "\n")+"\n")
}

// rest waits for the client to end the connection.
func (p *conversation) rest() { io.Copy(io.Discard, p.r) }

// reset ends the connection without sending the peer's buffers.
func (p *conversation) reset() { p.nc.(*net.TCPConn).SetLinger(0) }

// proxy passes connections on to addr and cuts each after a number of bytes that
// cut gives, in the direction to the client and to the server.
func proxy(t testing.TB, addr func() string, cut func() (down, up int64)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var stopped atomic.Bool
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr())
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			open[near], open[far] = true, true
			mu.Unlock()
			down, up := cut()
			end := func() { near.Close(); far.Close() }
			if stopped.Load() {
				end()
			}
			wg.Go(func() { defer end(); io.CopyN(near, far, down) })
			wg.Go(func() { defer end(); io.CopyN(far, near, up) })
		}
	})
	t.Cleanup(func() {
		stopped.Store(true)
		ln.Close()
		mu.Lock()
		for nc := range open {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// outcome checks that err names exactly one outcome of an append.
func outcome(t testing.TB, err, want error) {
	t.Helper()
	for _, sentinel := range []error{client.ErrRefused, client.ErrNotSent, client.ErrUnknown} {
		if errors.Is(err, sentinel) != (sentinel == want) {
			t.Errorf("error is %v, want %v and no other", err, want)
			return
		}
	}
	if want == nil && err != nil {
		t.Errorf("error is %v, want none", err)
	}
}
