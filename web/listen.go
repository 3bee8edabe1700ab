package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/server"
)

// The limits on a client before those of a conversation apply.
const (
	headerTime  = 10 * time.Second // for the header, and the handshake under TLS
	idleLimit   = time.Minute      // between two requests
	headerBytes = 8 << 10          // many small fields take ten times as much memory
	maxStreams  = 100              // requests at once on an HTTP/2 connection
	windowBytes = 64 << 10         // unread bytes on an HTTP/2 connection

	// A connection stays open for a moment after its last answer, if not too many do: otherwise a
	// client that is still sending would lose the answer.
	lingerTime  = time.Second
	lingerBytes = 64 << 20
	maxLinger   = 64
)

// NewServer returns an HTTP server for the handler. It uses TLS if config is not nil. Run it with
// Serve.
func (h *Handler) NewServer(config *tls.Config) *http.Server {
	return &http.Server{
		Handler:                      h,
		TLSConfig:                    config,
		ReadHeaderTimeout:            headerTime,
		IdleTimeout:                  idleLimit,
		MaxHeaderBytes:               headerBytes,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: windowBytes, MaxReceiveBufferPerStream: windowBytes},
		DisableGeneralOptionsHandler: true, // it would answer without the guard
		ErrorLog:                     stdlog.New(complaints{h.config.Logger.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Second})}, "", 0),
		ConnContext:                  withPlace,
	}
}

// Serve runs srv on the connections of ln. They count as connections of Config.Server; those over
// its limit are refused. Serve returns the error of srv.Serve after every connection has ended,
// once srv.Shutdown or srv.Close is called.
func (h *Handler) Serve(srv *http.Server, ln net.Listener) error {
	places := &listener{Listener: ln, server: h.config.Server, plain: srv.TLSConfig == nil, lingers: make(chan struct{}, maxLinger)}
	defer places.open.Wait()
	if srv.TLSConfig != nil {
		return srv.ServeTLS(places, "", "")
	}
	return srv.Serve(places)
}

// complaints logs what net/http reports about clients.
type complaints struct{ logger zerolog.Logger }

func (c complaints) Write(line []byte) (int, error) {
	c.logger.Debug().Str("event", "http").Msg(string(line[:max(0, len(line)-1)]))
	return len(line), nil
}

// listener accepts connections for which the server has a place.
type listener struct {
	net.Listener
	server *server.Server
	plain  bool // without TLS

	lingers chan struct{}  // holds a token for each lingering connection
	open    sync.WaitGroup // connections not closed yet
}

// fullAnswer is sent on connections over the limit. It does not wait for a request.
var fullAnswer = fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
	retryAfter, len(errorLine(server.ErrTooManyConnections.Error())), errorLine(server.ErrTooManyConnections.Error()))

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		place, err := l.server.TakePlace(nc)
		if err == nil {
			l.open.Add(1)
			return &placed{Conn: nc, place: place, listener: l}, nil
		}
		if l.plain && err == server.ErrTooManyConnections {
			l.open.Add(1)
			l.refuse(nc)
		} else {
			nc.Close()
		}
	}
}

// refuse answers on a connection over the limit, and closes it.
func (l *listener) refuse(nc net.Conn) {
	nc.SetWriteDeadline(time.Now().Add(lingerTime))
	io.WriteString(nc, fullAnswer) // fits into any empty socket buffer
	l.linger(nc)
}

// linger closes nc, one of l.open, once the client has read to the end, or after lingerTime:
// closing it with unread input would make the kernel reset the connection.
func (l *listener) linger(nc net.Conn) error {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil {
		defer l.open.Done()
		return nc.Close()
	}
	select {
	case l.lingers <- struct{}{}:
	default:
		defer l.open.Done()
		return nc.Close()
	}
	go func() {
		defer l.open.Done()
		nc.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, nc, lingerBytes)
		nc.Close()
		<-l.lingers
	}()
	return nil
}

// placed is a connection with its place.
type placed struct {
	net.Conn
	place    *server.Place
	listener *listener
	closed   sync.Once
}

func (p *placed) Close() (err error) {
	p.closed.Do(func() {
		p.place.Leave()
		err = p.listener.linger(p.Conn)
	})
	return err
}

// CloseWrite is for net/http, which calls it to end a connection that may still receive input.
func (p *placed) CloseWrite() error {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

type placeKey struct{}

// withPlace adds the place of a connection to the contexts of its requests.
func withPlace(ctx context.Context, nc net.Conn) context.Context {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	if p, ok := nc.(*placed); ok {
		return context.WithValue(ctx, placeKey{}, p.place)
	}
	return ctx
}

// placeOf returns the place of the request's connection, nil if it has none.
func placeOf(ctx context.Context) *server.Place {
	place, _ := ctx.Value(placeKey{}).(*server.Place)
	return place
}
