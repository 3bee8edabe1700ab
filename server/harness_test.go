package server

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
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// notMessage answers {}, notObject answers [].
const (
	notMessage = `{"error":"invalid message: it has no member \"digest\", \"durable\", \"entries\", \"entry\", \"from\", \"last\", \"replicate\", \"since\", \"stat\" or \"token\""}`
	notObject  = `{"error":"invalid message: it is an array, want an object"}`
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// running matches the stack of a goroutine of a server, a log or a test's client.
var running = regexp.MustCompile(`tcp-log-server/(server|engine)\.\(\*`)

// stacks returns the stacks of all goroutines. It does not begin with a large buffer, which the
// race detector takes long to make.
func stacks() string {
	for buf := make([]byte, 64<<10); ; buf = make([]byte, 2*len(buf)) {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return string(buf[:n])
		}
	}
}

// noLeaks makes the test fail if goroutines outlive it. Call it first.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left []string
		poll(t, "the end of all goroutines", func() bool {
			left = nil
			for _, stack := range strings.Split(stacks(), "\n\n")[1:] {
				if running.MatchString(stack) {
					left = append(left, stack)
				}
			}
			return len(left) == 0
		})
		if len(left) > 0 {
			t.Errorf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
		}
	})
}

// poll waits until ok.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited %v in vain for %s", patience, what)
			return
		}
	}
}

// setWriteBuffer sets the size of the kernel's send buffer of the connection.
func (c *conn) setWriteBuffer(t *testing.T, size int) {
	t.Helper()
	buffered, ok := c.raw.(interface{ SetWriteBuffer(int) error })
	if !ok {
		t.Errorf("the connection is a %T, which has no write buffer", c.raw)
	} else if err := buffered.SetWriteBuffer(size); err != nil {
		t.Error(err)
	}
}

// anyLog, if not nil, opens an empty log, which lasts until the end of the test, for each test that
// takes any: so this suite also runs over other implementations. Tests that need a fake, because
// they hold back its appends, make it fail or know its times, or that need something that only an
// engine's log has, call newFakeLog or openEngine.
var anyLog func(t *testing.T) Log

// openDisk opens a log in its own directory, or any.
func openDisk(t *testing.T) Log {
	t.Helper()
	if anyLog != nil {
		return anyLog(t)
	}
	config := engine.NewConfig(t.TempDir())
	config.LooseMax = 0
	return openEngine(t, config)
}

// openMemory opens a log in memory, or any.
func openMemory(t *testing.T) Log {
	t.Helper()
	if anyLog != nil {
		return anyLog(t)
	}
	return openEngine(t, engine.NewConfig(engine.Memory))
}

// openFake opens a fake, for a test that needs nothing special of it, or any.
func openFake(t *testing.T) Log {
	t.Helper()
	if anyLog != nil {
		return anyLog(t)
	}
	return newFakeLog()
}

func openEngine(t *testing.T, config engine.Config) *engine.Log {
	t.Helper()
	log, err := engine.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("closing the log: %v", err)
		}
	})
	return log
}

// fill appends count entries of roughly size bytes each to a log.
func fill(t *testing.T, log Log, count, size int) {
	t.Helper()
	pad := strings.Repeat("x", size)
	done := make(chan error, count/100+1)
	calls := 0
	for n := 0; n < count; calls++ {
		var run []byte
		first := n
		for ; n < count && n-first < 100; n++ {
			run = fmt.Appendf(run, `{"n":%d,"pad":"%s"}`+"\n", n+1, pad)
		}
		log.Append(run, n-first, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
	}
	for range calls {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	// Acked moves after the completions have run, and is the head that a replica is told.
	head, _ := log.Head(t.Context())
	poll(t, "the entries to be acked", func() bool { acked, _ := log.Acked(); return acked >= head })
}

// put appends entries from outside any connection.
func put(t *testing.T, log Log, entries ...string) {
	t.Helper()
	done := make(chan error, 1)
	var run []byte
	for _, e := range entries {
		run = append(append(run, e...), '\n')
	}
	log.Append(run, len(entries), appends.Condition{}, func(_ appends.Result, err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("an append was not done")
	}
}

// host is a server on its own port.
type host struct {
	*Server
	t    *testing.T
	addr string
}

// start serves the log until the end of the test.
func start(t *testing.T, log Log, config Config) *host {
	t.Helper()
	return startServer(t, New(log, config))
}

// startServer is start for a server that the test has changed.
func startServer(t *testing.T, s *Server) *host {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Server: s, t: t, addr: ln.Addr().String()}
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	t.Cleanup(func() {
		h.shutdown()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve returned %v, want ErrServerClosed", err)
		}
	})
	return h
}

func (h *host) shutdown() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		h.t.Errorf("Shutdown: %v", err)
	}
}

// client is one connection to a server, as a test sees it.
type client struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

// dial connects to the host.
func (h *host) dial() *client {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	return newClient(h.t, nc)
}

func newClient(t *testing.T, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(3 * patience))
	return &client{t: t, nc: nc, r: bufio.NewReaderSize(nc, 64<<10)}
}

// send sends the lines in one write.
func (c *client) send(lines ...string) {
	c.t.Helper()
	c.write(strings.Join(lines, "\n") + "\n")
}

// write sends the bytes as they are.
func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// append sends count writes with the ids from..from+count-1 in one write.
func (c *client) append(from, count int) {
	c.t.Helper()
	var b strings.Builder
	for n := from; n < from+count; n++ {
		fmt.Fprintf(&b, `{"id":"%d","entry":{"n":%d}}`+"\n", n, n)
	}
	c.write(b.String())
}

// line receives one line.
func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("receiving: %v after %q", err, line)
	}
	return line[:len(line)-1]
}

// want receives these lines and no others.
func (c *client) want(lines ...string) {
	c.t.Helper()
	for i, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("line %d of %d:\n got %s\nwant %s", i+1, len(lines), got, want)
		}
	}
}

// wantEnd receives the end of the connection, with nothing before it.
func (c *client) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("got %.300q and %v, want the end of the connection", rest, err)
	}
}

// half ends the client's side of the connection.
func (c *client) half() {
	c.t.Helper()
	if err := c.nc.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// ack is the reply to the write with the id n.
func ack(n, index int) string { return fmt.Sprintf(`{"id":"%d","index":%d}`, n, index) }

// entry is the line of the entry of the write with the id n.
func entry(n, index int) string { return fmt.Sprintf(`{"index":%d,"entry":{"n":%d}}`, index, n) }

const current = `{"current":true}`

func head(index int) string { return fmt.Sprintf(`{"head":%d}`, index) }
