// Package web serves a log over HTTP, with a page to look at it: docs/HTTP.md. It sees the log
// as a server.Server does, and has that hold the conversations, so order, limits and
// memory are those of the protocol's own connections.
package web

import (
	"net/http"

	"github.com/rs/zerolog"

	"tcp-log-server/server"
)

// Config says what a Handler serves.
type Config struct {
	// Server holds the conversations, and Log is what it serves.
	Server *server.Server
	Log    server.Log
	// Logger gets the events; the zero Logger drops them.
	Logger zerolog.Logger
}

// Handler answers the requests of docs/HTTP.md. It may be called from any goroutine.
type Handler struct {
	config Config
	mux    *http.ServeMux
}

// New returns a Handler.
func New(config Config) *Handler {
	h := &Handler{config: config, mux: http.NewServeMux()}
	h.routes()
	return h
}

// routes says who answers what.
func (h *Handler) routes() {
	h.mux.HandleFunc("GET /entries", h.entries)
	h.mux.HandleFunc("GET /entries/{index}", h.entry)
	h.mux.HandleFunc("POST /entries", h.appends)
	h.mux.HandleFunc("GET /head", h.head)
	h.mux.HandleFunc("GET /stat", h.stat)
	h.mux.HandleFunc("GET /histogram", h.histogram)
	h.mux.HandleFunc("GET /", h.page)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }
