package daemon

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"tcp-log-server/web"
)

// site is the daemon's HTTP server.
type site struct {
	ln     net.Listener
	server http.Server
	done   chan struct{}
}

// httpAddress is where HTTP listens: at Host, if the setting names no host.
func (c *Config) httpAddress() string {
	host, port, err := net.SplitHostPort(c.HTTP)
	if err == nil && host == "" {
		return net.JoinHostPort(c.Host, port)
	}
	return c.HTTP
}

// listenHTTP begins to listen. Requests that come from now on wait until the log is open.
func (d *daemon) listenHTTP() error {
	ln, err := net.Listen("tcp", d.config.httpAddress())
	if err != nil {
		return listenError(err, "HTTP")
	}
	d.site = &site{ln: ln, done: make(chan struct{})}
	return nil
}

// serveHTTP answers requests.
func (d *daemon) serveHTTP() {
	s := d.site
	s.server = http.Server{
		Handler:           web.New(web.Config{Server: d.srv, Log: d.log, Logger: d.logger}),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          stdlog.New(io.Discard, "", 0),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			d.logger.Error().Err(err).Str("event", "http").Msg("the HTTP server has ended")
		}
	}()
	d.logger.Info().Str("event", "page").Func(address(s.ln.Addr())).Msg("page: http://" + s.ln.Addr().String() + "/")
}

// stopHTTP ends the HTTP server, once its conversations have ended.
func (d *daemon) stopHTTP(ctx context.Context) {
	if d.site.server.Shutdown(ctx) != nil {
		d.site.server.Close()
	}
	<-d.site.done
}
