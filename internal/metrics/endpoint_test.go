package metrics

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// patience is how long a test waits for something that is bound to happen.
const patience = 20 * time.Second

// listen opens an endpoint until the end of the test.
func listen(t *testing.T, e *Exporter, profiles bool) *Endpoint {
	t.Helper()
	endpoint, err := Listen("127.0.0.1:0", e, profiles)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	return endpoint
}

// ask asks the endpoint for a path.
func ask(t *testing.T, e *Endpoint, method, path string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+e.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// TestStates goes through a server's life: it is always alive, and ready once the
// log is recovered, as long as appends are accepted and it is not ending.
func TestStates(t *testing.T) {
	e := New(Build{})
	endpoint := listen(t, e, false)
	check := func(when string, status int, says string, ready, head float64, shown bool) {
		t.Helper()
		if code, _, body := ask(t, endpoint, "GET", "/healthz"); code != 200 || body != "alive\n" {
			t.Errorf("%s: /healthz is %d %q", when, code, body)
		}
		if code, _, body := ask(t, endpoint, "GET", "/readyz"); code != status || body != says+"\n" {
			t.Errorf("%s: /readyz is %d %q, want %d %q", when, code, body, status, says)
		}
		code, header, body := ask(t, endpoint, "GET", "/metrics")
		if code != 200 || header.Get("Content-Type") != contentType {
			t.Errorf("%s: /metrics is %d, %v", when, code, header)
		}
		samples := parse(t, body).Samples
		got, ok := samples["tcp_log_server_head"]
		if samples["tcp_log_server_ready"] != ready || ok != shown || got != head {
			t.Errorf("%s: ready is %v, head %v (%v), want %v, %v (%v)", when, samples["tcp_log_server_ready"], got, ok, ready, head, shown)
		}
	}
	check("before the log is recovered", 503, "starting: the log is being recovered", 0, 0, false)
	var why atomic.Pointer[error]
	sources := fixed(engine.Stats{Head: 5}, server.Stats{})
	sources.Refusing = func() error {
		if err := why.Load(); err != nil {
			return *err
		}
		return nil
	}
	e.Show(sources)
	check("after that", 200, "ready", 1, 5, true)
	refused := errors.New("no space left on device")
	why.Store(&refused)
	check("while appends are refused", 503, "no space left on device", 0, 5, true)
	why.Store(nil)
	check("once there is room", 200, "ready", 1, 5, true)
	endpoint.Stopping()
	check("at the end", 503, "stopping", 0, 5, true)
	if err := endpoint.Close(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", endpoint.Addr().String()); err == nil {
		c.Close()
		t.Error("after Close the endpoint still listens")
	}
}

func TestPaths(t *testing.T) {
	plain, profiling := listen(t, New(Build{}), false), listen(t, New(Build{}), true)
	for _, tt := range []struct {
		endpoint     *Endpoint
		method, path string
		status       int
	}{
		{plain, "GET", "/", 404},
		{plain, "POST", "/metrics", 405},
		{plain, "HEAD", "/metrics", 200},
		{plain, "HEAD", "/readyz", 503},
		{plain, "GET", "/debug/pprof/", 404},
		{plain, "GET", "/debug/pprof/goroutine", 404},
		{profiling, "GET", "/debug/pprof/", 200},
		{profiling, "GET", "/debug/pprof/goroutine?debug=1", 200},
		{profiling, "GET", "/debug/pprof/trace?seconds=0.01", 200},
		{profiling, "GET", "/metrics", 200},
	} {
		if status, _, _ := ask(t, tt.endpoint, tt.method, tt.path); status != tt.status {
			t.Errorf("%s %s is %d, want %d", tt.method, tt.path, status, tt.status)
		}
	}
}

func TestListenRefused(t *testing.T) {
	taken := listen(t, New(Build{}), false)
	if _, err := Listen(taken.Addr().String(), New(Build{}), false); err == nil || !strings.HasPrefix(err.Error(), "metrics: ") {
		t.Errorf("error is %v, want one that begins with metrics", err)
	}
}

// TestStalledWatchers: those that ask for half, or do not take what they asked
// for, hold up neither others nor the end.
func TestStalledWatchers(t *testing.T) {
	e := New(Build{})
	e.Show(fixed(engine.Stats{}, server.Stats{}))
	endpoint := listen(t, e, false)
	for i := range maxWatchers / 2 {
		c, err := net.Dial("tcp", endpoint.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n")
		} else {
			c.(*net.TCPConn).SetReadBuffer(1 << 10)
			_, err = io.WriteString(c, strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 500))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if status, _, _ := ask(t, endpoint, "GET", "/healthz"); status != 200 {
		t.Errorf("/healthz is %d", status)
	}
	closed := make(chan error, 1)
	go func() { closed <- endpoint.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(requestTime / 2):
		t.Error("Close waits for those that take nothing")
	}
}

// TestLimited: only so many connections are open at once, the next one is taken
// as soon as one of them has gone, and Close ends the wait for that.
func TestLimited(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimited(ln, 2)
	defer l.Close()
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 4 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	take := func() net.Conn {
		t.Helper()
		select {
		case c := <-accepted:
			return c
		case <-time.After(patience):
			t.Fatal("no connection was taken")
			return nil
		}
	}
	first := take()
	take()
	if got := len(l.slots); got != 2 {
		t.Errorf("%d slots are taken, want 2", got)
	}
	select {
	case <-accepted:
		t.Fatal("a third connection was taken")
	case <-time.After(20 * time.Millisecond):
	}
	first.Close()
	first.Close() // gives back one slot, not two
	take()
	if got := len(l.slots); got != 2 {
		t.Errorf("%d slots are taken, want 2", got)
	}
	l.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("Close does not end Accept")
	}
}
