// Package web serves a log over HTTP, with a page to look at it: docs/HTTP.md. A server.Server
// holds its conversations, so order, limits and memory are those of the protocol's own connections.
package web

import (
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/server"
)

// Config says what a Handler serves, and to which clients.
type Config struct {
	// Server holds the conversations, and Log is the log that it serves.
	Server *server.Server
	Log    server.Log
	// Tokens is as in server.Config: unless it is nil, clients without a certificate must show a
	// token.
	Tokens func(hash [32]byte) (name string, rights server.Rights)
	// Names are the hosts by which clients may address the server, besides loopback and the address
	// that they connect to: names or IP addresses, without a port.
	Names []string
	// Origins are the origins of other sites whose pages may use the server: "https://app.example".
	Origins []string
	// Metrics, unless nil, answers /metrics, /healthz and /readyz.
	Metrics http.Handler
	// WriteTimeout is as in server.Config, one minute by default.
	WriteTimeout time.Duration
	// Logger gets the events; the zero Logger drops them.
	Logger zerolog.Logger
}

// Handler answers the requests of docs/HTTP.md. It may be called from any goroutine.
type Handler struct {
	config   Config
	mux      *http.ServeMux
	guard    guard
	sessions sessions
	rejected zerolog.Logger // logs some of the clients that are turned away
	counting chan struct{}  // holds a token for each running histogram, because they use the CPU

	countTime time.Duration // countTime, except in tests
}

// New returns a Handler. It panics if CheckName or CheckOrigin refuses a name or an origin.
func New(config Config) *Handler {
	if config.WriteTimeout == 0 {
		config.WriteTimeout = time.Minute
	}
	h := &Handler{config: config, mux: http.NewServeMux(), guard: newGuard(config.Names, config.Origins), counting: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), countTime: countTime}
	h.rejected = config.Logger.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Second})
	h.routes()
	return h
}

// routes registers the handlers. It checks only whether a client is admitted at all; each handler
// checks the rights that it needs.
func (h *Handler) routes() {
	h.mux.HandleFunc("GET /entries", h.admit(unhurried(h.entries)))
	h.mux.HandleFunc("GET /entries/{index}", h.admit(unhurried(h.entry)))
	h.mux.HandleFunc("POST /entries", h.admit(unhurried(h.appends)))
	h.mux.HandleFunc("GET /head", h.admit(h.head))
	h.mux.HandleFunc("GET /stat", h.admit(unhurried(h.stat)))
	h.mux.HandleFunc("GET /histogram", h.admit(h.histogram))
	h.mux.HandleFunc("GET /session", h.session)
	h.mux.HandleFunc("POST /session", h.logIn)
	h.mux.HandleFunc("DELETE /session", h.logOut)
	for _, file := range pageFiles {
		h.mux.Handle("GET "+file.path, file)
	}
	if metrics := h.config.Metrics; metrics != nil {
		h.mux.HandleFunc("GET /metrics", h.admit(func(w http.ResponseWriter, r *http.Request) {
			if h.mayRead(w, r) {
				metrics.ServeHTTP(w, r)
			}
		}))
		h.mux.Handle("GET /healthz", metrics)
		h.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
			if _, _, rights, _ := h.admitted(r); rights.Read && h.guard.knows(r) {
				metrics.ServeHTTP(w, r)
				return
			}
			told := &statusOnly{header: make(http.Header), status: http.StatusOK} // only readers may see the reason
			metrics.ServeHTTP(told, r)
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(told.status)
			io.WriteString(w, map[bool]string{true: "ready\n", false: "not ready\n"}[told.status == http.StatusOK])
		})
	}
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Now().Add(h.config.WriteTimeout))
	// The server reads the rest of the body, which may never come.
	defer func() { control.SetReadDeadline(time.Now().Add(leftoverTime)) }()
	harden(w.Header())
	if h.refuses(w, r) {
		return
	}
	if answer, pattern := h.mux.Handler(r); pattern == "" {
		h.noSuch(w, r, answer)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// leftoverTime is how long to wait for the unwanted rest of a body.
const leftoverTime = 2 * time.Second

// unhurried removes the deadline for the answer: a conversation keeps its own.
func unhurried(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Time{})
		f(w, r)
	}
}

// noSuch answers if no pattern of the mux matches, like the mux itself, but in JSON.
func (h *Handler) noSuch(w http.ResponseWriter, r *http.Request, answer http.Handler) {
	told := &statusOnly{header: make(http.Header), status: http.StatusOK}
	answer.ServeHTTP(told, r)
	switch told.status {
	case http.StatusMethodNotAllowed:
		allowed := told.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		(&fault{told.status, "the method is " + shorten(r.Method) + ", want " + allowed}).answer(w)
	default:
		(&fault{http.StatusNotFound, "there is no " + shorten(r.URL.Path) + ": docs/HTTP.md has the paths"}).answer(w)
	}
}

// statusOnly keeps the status and the header of an answer.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
