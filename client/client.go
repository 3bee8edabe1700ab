// Package client appends to a tcp-log-server, reads from it and follows it.
//
// A Client talks to one server and may be used by many goroutines. Its appends share one
// connection, and those that are waiting go out in one write, so concurrent appends are
// cheap. Each read has its own connection.
//
// An append is never sent twice: if its outcome is unknown, it ends with ErrUnknown. AppendOnce
// is the exception: the server stores an entry only if the log does not hold it, so it is
// sent again until it is answered. AppendIf stores an entry only at the index that it is meant
// for, and AppendAll several or none. A Follow reconnects by itself and resumes after the last
// entry it returned.
package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Options configure how a Client connects and how much it keeps under way. The zero value means
// plain TCP, no token, and the defaults given below.
type Options struct {
	// TLS, if not nil, is used on every connection. The name expected in the server's
	// certificate is the host of the address unless ServerName says otherwise.
	TLS *tls.Config
	// Token is sent as the first line of every connection, unless it is empty.
	Token string
	// DialTimeout is how long connecting may take, including TLS and the token; 10 s by
	// default. A context may end it sooner.
	DialTimeout time.Duration
	// MaxInFlight is how many bytes of appends may be under way; 4 MiB by default. Further
	// appends wait. Each counts as its length plus 256 bytes.
	MaxInFlight int64
	// MinBackoff and MaxBackoff bound how long a Follow waits before it reconnects, and how
	// long writes with Once wait before they are sent again: MinBackoff the first time, then
	// twice as long each time, less a random part of up to half; 100 ms and 5 s by default.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry is called with the reason why a Follow has lost its connection, or could not
	// connect, and how long it will wait. It runs on the goroutine that follows. For writes
	// with Once it is called in the same cases, and when one was not stored, once for all that
	// wait. Then it runs on a goroutine of the client.
	OnRetry func(err error, wait time.Duration)
	// OnResume is called when the Follow has resumed, on its goroutine, and when a write with
	// Once has been answered again, on a goroutine of the client.
	OnResume func()
	// DialContext replaces the default net.Dialer, which uses TCP keep-alive to notice within a
	// minute that a server is gone.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (o Options) withDefaults(addr string) Options {
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 4 << 20
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 5 * time.Second
	}
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	if o.DialContext == nil {
		d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
		o.DialContext = d.DialContext
	}
	if o.TLS != nil && o.TLS.ServerName == "" {
		o.TLS = o.TLS.Clone()
		o.TLS.ServerName = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			o.TLS.ServerName = host
		}
	}
	return o
}

// Client talks to one server. All methods may be called from any goroutine.
type Client struct {
	addr string
	opts Options

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // every goroutine of the client

	once     *once
	room     *semaphore.Weighted // MaxInFlight
	waiters  sync.Pool           // of *waiter
	pipeline atomic.Pointer[pipeline]

	mu      sync.Mutex
	dialed  net.Conn // Dial's connection, until something uses it or dialedMax has passed
	dialing *dialing // a pipeline that is connecting
	closed  bool
}

// dialedMax is how long Dial's connection may stay unused: nothing watches it.
const dialedMax = 10 * time.Second

// dialing is a pipeline's attempt to connect; done is closed at its end.
type dialing struct {
	done     chan struct{}
	pipeline *pipeline
	err      error
}

// Dial connects to the server at addr, which is host:port, so that a wrong address is detected
// at once. A wrong token is detected only when it is used.
func Dial(ctx context.Context, addr string, options Options) (*Client, error) {
	options = options.withDefaults(addr)
	c := &Client{addr: addr, opts: options, room: semaphore.NewWeighted(options.MaxInFlight)}
	c.once = newOnce(c)
	c.waiters.New = func() any { return newWaiter() }
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	nc, err := c.connect(ctx)
	if err != nil {
		c.cancel(nil)
		return nil, err
	}
	c.dialed = nc
	time.AfterFunc(dialedMax, func() {
		if nc := c.takeDialed(); nc != nil {
			nc.Close()
		}
	})
	return c, nil
}

// connect opens a connection on which the token has been sent.
func (c *Client) connect(ctx context.Context) (net.Conn, error) { return c.opts.connect(ctx, c.addr) }

// Connect opens one connection to the server at addr as a Client does: with TLS and with the
// token sent, as the options say. It is for conversations that a Client does not support, such
// as that of a replica. The caller closes it.
func Connect(ctx context.Context, addr string, options Options) (net.Conn, error) {
	return options.withDefaults(addr).connect(ctx, addr)
}

func (o Options) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	nc, err := o.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		secured := tls.Client(nc, o.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		nc = secured
	}
	if o.Token != "" {
		line, err := json.Marshal(map[string]string{"token": o.Token})
		if err != nil {
			nc.Close()
			return nil, err
		}
		deadline, _ := ctx.Deadline()
		nc.SetWriteDeadline(deadline)
		if _, err := nc.Write(append(line, '\n')); err != nil {
			nc.Close()
			return nil, lost(err)
		}
		nc.SetWriteDeadline(time.Time{})
	}
	return nc, nil
}

// takeDialed returns Dial's connection if nothing has used it yet, else nil.
func (c *Client) takeDialed() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	nc := c.dialed
	c.dialed = nil
	return nc
}

// connected returns the pipeline, and reconnects if the last one has ended. Concurrent calls
// share one dial, which does not end with the context of any of them.
func (c *Client) connected(ctx context.Context) (*pipeline, error) {
	if p := c.pipeline.Load(); p != nil && !p.ended.Load() {
		return p, nil
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if p := c.pipeline.Load(); p != nil && !p.ended.Load() {
		c.mu.Unlock()
		return p, nil
	}
	d := c.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		c.dialing = d
		c.running.Go(func() { c.dialPipeline(d) })
	}
	c.mu.Unlock()
	select {
	case <-d.done:
		return d.pipeline, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
}

// dialPipeline opens a pipeline for the calls that wait for d.
func (c *Client) dialPipeline(d *dialing) {
	if p := c.pipeline.Load(); p != nil {
		select {
		case <-p.done: // earlier appends complete first
		case <-c.ctx.Done():
		}
	}
	nc, err := c.takeDialed(), error(nil)
	if nc == nil {
		nc, err = c.connect(c.ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing = nil
	switch {
	case c.closed && err == nil:
		nc.Close()
		fallthrough
	case c.closed:
		d.err = ErrClosed
	case err != nil:
		d.err = err
	default:
		d.pipeline = c.newPipeline(nc)
		c.pipeline.Store(d.pipeline)
	}
	close(d.done)
}

// Close closes every connection and returns once all goroutines of the client have ended. It
// does not wait for answers: appends under way end with ErrUnknown or ErrNotSent, reads with
// ErrClosed. Further calls of Close do nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.cancel(ErrClosed)
	if c.dialed != nil {
		c.dialed.Close()
		c.dialed = nil
	}
	if p := c.pipeline.Load(); p != nil {
		p.interrupt()
	}
	c.mu.Unlock()
	c.running.Wait()
	return nil
}
