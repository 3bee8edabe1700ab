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
	// requestTime limits how long a request may take to arrive, and its answer to be read:
	// monitoring asks every few seconds.
	requestTime = 10 * time.Second
	// idleTime is how long a connection may be silent before its first request or between two, so
	// that idle connections do not keep others out for long.
	idleTime = 5 * time.Second
	// headerBytes limits a request: requests have no body.
	headerBytes = 16 << 10
	// maxWatchers is the maximum number of connections at once.
	maxWatchers = 64
)

// Endpoint serves an exporter over HTTP: /metrics, /healthz, /readyz and, if configured,
// /debug/pprof. It shares nothing with the log's own connections, and a client that does not read
// its answer delays no other client.
type Endpoint struct {
	server  http.Server
	addr    net.Addr
	serving sync.WaitGroup
	failed  error // why serving ended
}

// Listen listens on addr, host:port, and serves the exporter until Close. Before the exporter has
// sources, /readyz says that the log is being recovered. profiles adds /debug/pprof.
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
		WriteTimeout:      requestTime, // pprof adds its recording time
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

// Addr returns the address of the endpoint.
func (e *Endpoint) Addr() net.Addr { return e.addr }

// Close closes the endpoint at once, including requests in progress. If serving had already failed,
// it returns that error.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	e.serving.Wait()
	return errors.Join(e.failed, err)
}

// Handler returns the handler of an Endpoint.
func (e *Exporter) Handler(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		// Build the whole page before sending any of it, so that nothing waits for the peer.
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

// Stopping makes /readyz report that the server is stopping.
func (e *Exporter) Stopping() { e.stopping.Store(true) }

// Waiting makes /readyz say what the start waits for, until the exporter has sources.
func (e *Exporter) Waiting(text string) { e.waiting.Store(&text) }

// behindSome is how many seconds a replica must be behind its source before /readyz mentions it.
const behindSome = 10

// notice returns a hint for clients of a ready server that its data is old.
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

// Refusing returns why the server is not ready, nil if it is.
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
