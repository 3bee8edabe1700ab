package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"tcp-log-server/web"
)

// site is the daemon's HTTP server.
type site struct {
	ln      net.Listener
	handler *web.Handler
	server  *http.Server
	done    chan struct{} // closed when it has stopped serving
}

// httpAddress returns the address for HTTP: at Host, if the setting names no host.
func (c *Config) httpAddress() string {
	host, port, err := net.SplitHostPort(c.HTTP)
	if err == nil && host == "" {
		return net.JoinHostPort(c.Host, port)
	}
	return c.HTTP
}

// validateHTTP checks the settings of HTTP.
func (c *Config) validateHTTP() error {
	if c.HTTP == "" {
		switch {
		case len(c.HTTPNames) > 0:
			return ConfigError("http-names needs http, the address that has these names")
		case len(c.HTTPOrigins) > 0:
			return ConfigError("http-origins needs http, the address that these sites may use")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(c.HTTP)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" {
		return ConfigError(fmt.Sprintf("http is %q, want host:port, like 127.0.0.1:8090, or :8090 for the address in host", c.HTTP))
	}
	for _, name := range c.HTTPNames {
		if err := web.CheckName(name); err != nil {
			return ConfigError("http-names: " + err.Error())
		}
	}
	for _, origin := range c.HTTPOrigins {
		if err := web.CheckOrigin(origin); err != nil {
			return ConfigError("http-origins: " + err.Error())
		}
	}
	if addr, err := net.ResolveTCPAddr("tcp", c.httpAddress()); err == nil {
		if err := c.checkExposure(addr, "HTTP=127.0.0.1:"+port); err != nil {
			return ConfigError(err.Error())
		}
	}
	return nil
}

// listenHTTP starts listening. Requests wait until the log is open.
func (d *daemon) listenHTTP() error {
	ln, err := net.Listen("tcp", d.config.httpAddress())
	if err != nil {
		return listenError(fmt.Errorf("http: %w", err), "HTTP")
	}
	if err := d.config.checkExposure(ln.Addr(), fmt.Sprint("HTTP=127.0.0.1:", ln.Addr().(*net.TCPAddr).Port)); err != nil {
		ln.Close()
		return err
	}
	d.site = &site{ln: ln, done: make(chan struct{})}
	return nil
}

// serveHTTP starts answering requests.
func (d *daemon) serveHTTP() {
	s := d.site
	config := web.Config{
		Server: d.srv, Log: d.served, Tokens: d.admission.rights(),
		Names: d.config.HTTPNames, Origins: d.config.HTTPOrigins,
		WriteTimeout: d.config.WriteTimeout, Logger: d.logger,
	}
	if d.endpoint == nil {
		config.Metrics = d.exporter.Handler(false)
	}
	var secure *tls.Config
	scheme := "http"
	if d.admission.certificates != nil {
		secure, scheme = d.admission.certificates.Config("h2", "http/1.1"), "https"
	}
	s.handler = web.New(config)
	s.server = s.handler.NewServer(secure)
	go func() {
		defer close(s.done)
		if err := s.handler.Serve(s.server, s.ln); !errors.Is(err, http.ErrServerClosed) {
			d.logger.Error().Err(err).Str("event", "http").Msg("HTTP is served no more")
		}
	}()
	d.logger.Info().Str("event", "page").Func(address(s.ln.Addr())).Msg("page: " + scheme + "://" + pageHost(s.ln.Addr()) + "/")
}

// pageHost returns the name for addr in a browser on this machine.
func pageHost(addr net.Addr) string {
	tcp := addr.(*net.TCPAddr)
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() || tcp.IP.Equal(net.IPv4(127, 0, 0, 1)) || tcp.IP.Equal(net.IPv6loopback) {
		host = "localhost"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// stop makes the HTTP server refuse new connections and end when its requests have been answered. The
// returned function waits for that until ctx is done, and then ends the rest.
func (s *site) stop(ctx context.Context) (wait func()) {
	ended := make(chan error, 1)
	go func() { ended <- s.server.Shutdown(ctx) }()
	return func() {
		if <-ended != nil {
			s.server.Close()
		}
		<-s.done
	}
}
