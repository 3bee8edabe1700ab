package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/internal/porttest"
)

// running is a daemon in this process.
type running struct {
	addr string
	stop func() error // ends it and returns the result of Run
}

// run runs a daemon until stop is called or the test ends.
func run(t *testing.T, config Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan net.Addr, 1), make(chan struct{})
	config.OnReady = func(addr net.Addr) { ready <- addr }
	var err error // set once it has ended
	go func() {
		defer close(ended)
		err = Run(ctx, config)
	}()
	r := &running{stop: func() error { cancel(); <-ended; return err }}
	t.Cleanup(func() { _ = r.stop() }) // before its directory is removed
	select {
	case addr := <-ready:
		r.addr = addr.String()
	case <-ended:
		t.Fatalf("the daemon has ended: %v", err)
	}
	return r
}

// TestReadyWhenOnReady: once OnReady is called, /readyz says that the daemon is ready.
func TestReadyWhenOnReady(t *testing.T) {
	config := NewConfig(t.TempDir())
	config.Port, config.Metrics = 0, porttest.Addr(t)
	ctx, stop := context.WithCancel(t.Context())
	said := ""
	config.OnReady = func(net.Addr) {
		said = httpText(t, "http://"+config.Metrics+"/readyz")
		stop()
	}
	if err := Run(ctx, config); err != nil || said != "200 OK ready\n" {
		t.Errorf("when OnReady was called /readyz said %q; %v", said, err)
	}
}

// TestTwoDaemons runs two daemons in one process, each with its own log, stops them and opens their logs
// again.
func TestTwoDaemons(t *testing.T) {
	dir := t.TempDir()
	var configs []Config
	for n := range 2 {
		config := NewConfig(filepath.Join(dir, fmt.Sprint(n)))
		config.Port, config.Metrics = 0, "127.0.0.1:0"
		configs = append(configs, config)
	}
	for round := range 2 {
		daemons := []*running{run(t, configs[0]), run(t, configs[1])}
		for n, d := range daemons {
			c, err := client.Dial(t.Context(), d.addr, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range n + 1 { // so that the logs also differ in length
				want := uint64(round*(n+1) + i + 1)
				if index, err := c.Append(t.Context(), fmt.Appendf(nil, `{"log":%d}`, n)); err != nil || index != want {
					t.Errorf("round %d, log %d: index is %d, %v, want %d", round, n, index, err, want)
				}
			}
			for e, err := range c.Read(t.Context(), 1, 0) {
				if want := fmt.Sprintf(`{"log":%d}`, n); err != nil || string(e.Value) != want {
					t.Errorf("log %d has the entry %s, %v, want %s", n, e.Value, err, want)
				}
			}
		}
		for n, d := range daemons {
			if err := d.stop(); err != nil {
				t.Errorf("log %d: Run returns %v", n, err)
			}
			if _, err := net.DialTimeout("tcp", d.addr, time.Second); err == nil {
				t.Errorf("log %d: %s is still served", n, d.addr)
			}
		}
	}
}

// TestListener: a daemon serves its configuration's listener, and closes it even if it cannot run.
func TestListener(t *testing.T) {
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	config := NewConfig(engine.Memory)
	config.Listener = listen()
	d := run(t, config)
	if want := config.Listener.Addr().String(); d.addr != want {
		t.Errorf("the daemon listens on %s, want %s", d.addr, want)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	config.Listener = listen()
	config.Pprof = true
	if err := Run(t.Context(), config); err == nil {
		t.Error("Run returns nil for a wrong configuration")
	}
	if _, err := config.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Run the listener returns %v, want %v", err, net.ErrClosed)
	}
}

// TestFailedStart: a failed start says what to do, makes no directory, and frees the address.
func TestFailedStart(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, port, _ := net.SplitHostPort(other.Addr().String())
	taken, _ := strconv.Atoi(port)
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own.Close()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"port":    {func(c *Config) { c.Port = taken }, "address already in use: stop the server that is running there, or set PORT to another port"},
		"metrics": {func(c *Config) { c.Metrics = other.Addr().String() }, "or set METRICS to another port"},
		"host":    {func(c *Config) { c.Host = "192.0.2.1"; c.Insecure = true }, "192.0.2.1"},
		"tokens":  {func(c *Config) { c.Tokens = filepath.Join(dir, "none") }, "no such file"},
		"key":     {func(c *Config) { c.TLSCert, c.TLSKey = "none.pem", "none.key" }, "none.pem"},
	} {
		config := NewConfig(filepath.Join(dir, name))
		config.Port = own.Addr().(*net.TCPAddr).Port
		tt.change(&config)
		if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: the error is %v, want one with %q", name, err, tt.says)
		}
		if _, err := os.Stat(config.Data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory of the log exists: %v", name, err)
		}
		if ln, err := net.Listen("tcp", own.Addr().String()); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			ln.Close()
		}
	}
}

// TestStatSettings: stat shows the settings under the names of the flags, and not where secrets are.
func TestStatSettings(t *testing.T) {
	config := NewConfig(engine.Memory)
	config.Port = 0
	config.MaxEntry = 1234
	d := run(t, config)
	c, err := client.Dial(t.Context(), d.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := c.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s Stat
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"max-entry": 1234.0, "data": "memory", "tls-min-version": "1.3", "write-timeout": "1m0s", "tokens": false} {
		if s.Settings[name] != want {
			t.Errorf("%s is %v, want %v", name, s.Settings[name], want)
		}
	}
	config.Tokens, config.TLSKey = "/secret/tokens", "/secret/key"
	if shown := fmt.Sprint(config.shown()); strings.Contains(shown, "secret") {
		t.Errorf("stat would show %s", shown)
	}
}

// TestValidate: a wrong setting is a ConfigError that names it, and nothing is created.
func TestValidate(t *testing.T) {
	for says, change := range map[string]func(c *Config){
		"port is 65536":             func(c *Config) { c.Port = 65536 },
		"loose-max is -2":           func(c *Config) { c.LooseMax = -2 },
		"max-entry is 0":            func(c *Config) { c.MaxEntry = 0 },
		"max-connections is -1":     func(c *Config) { c.MaxConnections = -1 },
		"host is empty":             func(c *Config) { c.Host = "" },
		"data is empty":             func(c *Config) { c.Data = "" },
		`data is "s3://bucket/log"`: func(c *Config) { c.Data = "s3://bucket/log" },
		`blobs is "file:blobs", want a directory, or the URL`:                                    func(c *Config) { c.Blobs = "file:blobs" },
		`blobs is "http://bucket"`:                                                               func(c *Config) { c.Blobs = "http://bucket" },
		`host is "localhost:9", want a host without a port: set host to localhost and port to 9`: func(c *Config) { c.Host = "localhost:9" },
		`host is "[::1]:9", want a host without a port: set host to ::1 and port to 9`:           func(c *Config) { c.Host = "[::1]:9" },
		`host is "[::1]", want an address alone`:                                                 func(c *Config) { c.Host = "[::1]" },
		`host is "http://localhost", want an address alone`:                                      func(c *Config) { c.Host = "http://localhost" },
		`metrics is ":x", want host:port`:                                                        func(c *Config) { c.Metrics = ":x" },
		`metrics is "localhost:99999"`:                                                           func(c *Config) { c.Metrics = "localhost:99999" },
		"write-timeout is 1ms":                                                                   func(c *Config) { c.WriteTimeout = time.Millisecond },
		"tls-min-version is 1.1":                                                                 func(c *Config) { c.TLSMinVersion = tls.VersionTLS11 },
		"tls-cert and tls-key":                                                                   func(c *Config) { c.TLSKey = "key" },
		"tls-client-ca needs":                                                                    func(c *Config) { c.TLSClientCA = "ca" },
		`metrics is "9100"`:                                                                      func(c *Config) { c.Metrics = "9100" },
		"pprof needs metrics":                                                                    func(c *Config) { c.Pprof = true },
		"anyone who can reach 0.0.0.0 co":                                                        func(c *Config) { c.Host = "0.0.0.0" },
		"anyone who can reach 0.0.0.0:9100 could read metrics: set METRICS=127.0.0.1:9100":       func(c *Config) { c.Metrics = "0.0.0.0:9100" },
		"anyone who can reach :9100 could":                                                       func(c *Config) { c.Metrics = ":9100" },
		"anyone who can reach [::]:1 could":                                                      func(c *Config) { c.Metrics = "[::]:1" },
		"anyone who can reach 0.0.0.0:1 could read metrics and dumps":                            func(c *Config) { c.Metrics, c.Pprof = "0.0.0.0:1", true },
		"anyone who can reach 0.0.0.0:2 could": func(c *Config) { // tokens do not guard metrics
			c.Metrics, c.Tokens = "0.0.0.0:2", "tokens"
		},
	} {
		dir := t.TempDir()
		config := NewConfig(filepath.Join(dir, "data"))
		change(&config)
		err := Run(t.Context(), config)
		if _, ok := errors.AsType[ConfigError](err); !ok || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("Run returns %v, want a ConfigError that begins with %q", err, says)
		}
		if made, _ := filepath.Glob(filepath.Join(dir, "*")); len(made) > 0 {
			t.Errorf("%s: Run has made %v", says, made)
		}
	}
}

// TestMetricsExposed: INSECURE allows a metrics address that other machines can reach, with a warning;
// loopback needs neither.
func TestMetricsExposed(t *testing.T) {
	for addr, exposed := range map[string]bool{"127.0.0.1:0": false, "localhost:0": false, "0.0.0.0:0": true} {
		var log bytes.Buffer
		config := NewConfig(engine.Memory)
		config.Port, config.Metrics, config.Insecure = 0, addr, exposed
		config.Logger = zerolog.New(&log)
		if err := run(t, config).stop(); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		if warned := strings.Contains(log.String(), `"event":"insecure"`); warned != exposed {
			t.Errorf("%s: warned is %v, want %v", addr, warned, exposed)
		}
	}
}
