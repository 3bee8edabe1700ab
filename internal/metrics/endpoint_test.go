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

// patience is how long a test waits for something that must happen.
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

// ask requests a path from the endpoint.
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

// TestStates goes through the life of a server: it is always alive, and it is ready once the log is
// recovered, while appends are accepted and it is not stopping.
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
	e.Stopping()
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

// TestStalledWatchers: clients that send half a request, or do not read the answer, delay neither
// other clients nor Close.
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

// TestWatcherLimit: the number of connections served at once is limited, and the next one is served
// once one of them has gone.
func TestWatcherLimit(t *testing.T) {
	e, err := Listen("127.0.0.1:0", New(Build{}), false)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn) {
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(c net.Conn, within time.Duration) bool {
		c.SetReadDeadline(time.Now().Add(within))
		_, err := c.Read(make([]byte, 1))
		return err == nil
	}
	var served []net.Conn
	for range maxWatchers {
		c := dial()
		ask(c)
		if !answered(c, patience) {
			t.Fatalf("connection %d is not served", len(served)+1)
		}
		served = append(served, c) // idle from now on
	}
	next := dial()
	ask(next)
	if answered(next, 20*time.Millisecond) {
		t.Fatalf("more than %d connections are served at once", maxWatchers)
	}
	served[0].Close()
	if !answered(next, patience) {
		t.Error("no connection is served in the place of one that has gone")
	}
}

// TestIdleWatchers: idle connections, whether they have sent a request or not, keep all places for
// at most idleTime.
func TestIdleWatchers(t *testing.T) {
	for name, asked := range map[string]string{
		"after a request": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"silent":          "",
		"half a request":  "GET /healthz HTTP/1.1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := listen(t, New(Build{}), false)
			began := time.Now()
			for range maxWatchers {
				c, err := net.Dial("tcp", endpoint.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := io.WriteString(c, asked); err != nil {
					t.Fatal(err)
				}
			}
			if status, _, _ := ask(t, endpoint, "GET", "/healthz"); status != 200 {
				t.Errorf("/healthz is %d", status)
			}
			if took := time.Since(began); took < idleTime/2 || took > 2*idleTime {
				t.Errorf("the next connection is served after %v, want about %v", took, idleTime)
			}
		})
	}
}
