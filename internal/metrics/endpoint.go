package metrics

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// requestTime is how long a request may take to arrive, and its answer to be
	// read: monitoring asks every few seconds.
	requestTime = 10 * time.Second
	// idleTime is how long a connection may send nothing, before its first request or
	// between two, so that idle ones cannot take all places for long.
	idleTime = 5 * time.Second
	// headerBytes bounds a request: none of them has a body.
	headerBytes = 16 << 10
	// maxWatchers is how many connections are served at once.
	maxWatchers = 64
)

// Endpoint serves what an exporter shows over HTTP: /metrics, /healthz, /readyz
// and, if configured, /debug/pprof. It shares nothing with the log's own
// connections, and a client that does not read its answer delays no other.
type Endpoint struct {
	server  http.Server
	addr    net.Addr
	serving sync.WaitGroup
	failed  error // why serving ended, once it has
}

// Listen listens on addr, host:port, and serves what exporter shows until Close.
// Until the exporter is given sources, /readyz says that the log is being
// recovered. profiles adds /debug/pprof.
func Listen(addr string, exporter *Exporter, profiles bool) (*Endpoint, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	e := &Endpoint{addr: ln.Addr()}
	e.server = http.Server{
		Handler:           exporter.Handler(profiles),
		ReadHeaderTimeout: idleTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime, // pprof adds what it was asked to record for
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	e.serving.Go(func() {
		if err := e.server.Serve(netutil.LimitListener(ln, maxWatchers)); !errors.Is(err, http.ErrServerClosed) {
			e.failed = err
		}
	})
	return e, nil
}

// Addr is where the endpoint listens.
func (e *Endpoint) Addr() net.Addr { return e.addr }

// Close ends the endpoint at once, with the requests that are being answered. It
// returns why it had ended before, if it had.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	e.serving.Wait()
	return errors.Join(e.failed, err)
}

// Handler answers the requests of an Endpoint.
func (e *Exporter) Handler(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		// All of it is gathered before any is sent, so that nothing waits for the peer.
		page := e.page(e.Refusing() == nil)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", fmt.Sprint(len(page)))
		w.Write(page)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := e.Refusing(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready"+e.notice())
	})
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// answer answers with one line of text that must not be cached.
func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

var (
	errStarting = errors.New("starting: the log is being recovered")
	errStopping = errors.New("stopping")
)

// Stopping makes /readyz say so: no more connections are taken.
func (e *Exporter) Stopping() { e.stopping.Store(true) }

// Waiting makes /readyz say what the start waits for, until there are sources.
func (e *Exporter) Waiting(text string) { e.waiting.Store(&text) }

// behindSome is how many seconds behind its source a replica is when /readyz says so.
const behindSome = 10

// notice is what a client may want to know of a server that is ready: that what it serves is old.
func (e *Exporter) notice() string {
	s := e.sources.Load()
	if s == nil || s.Replica == nil {
		return ""
	}
	status := s.Replica()
	if status.BehindSeconds < behindSome {
		return ""
	}
	return fmt.Sprintf(", %.0f s behind %s", status.BehindSeconds, status.Source)
}

// Refusing is why the server is not ready, nil when it is.
func (e *Exporter) Refusing() error {
	if e.stopping.Load() {
		return errStopping
	}
	s := e.sources.Load()
	if s == nil {
		if text := e.waiting.Load(); text != nil {
			return errors.New("starting: " + *text)
		}
		return errStarting
	}
	return s.Refusing()
}
