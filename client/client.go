// Package client appends to a tcp-log-server, reads from it and follows it.
//
// A Client is for one server and for many goroutines. Its appends share one
// connection: what they send meanwhile goes out in one write, so an append costs
// little where there are many (lane.go). Each read has a connection of its own
// (read.go, stream.go).
//
// An append is never sent twice: where its outcome is unknown it ends with
// ErrUnknown. A Follow connects again by itself, and goes on where it was.
package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Options say how a Client connects and how much it keeps under way. The zero
// value is plain TCP, no token, and the defaults named below.
type Options struct {
	// TLS, if not nil, makes every connection one by TLS. The name to expect in the
	// server's certificate is the host of the address unless ServerName says
	// otherwise.
	TLS *tls.Config
	// Token is sent as the first line of every connection, unless it is empty.
	Token string
	// DialTimeout is how long a connection may take to come about, TLS and token
	// included; 10 s by default. A context may end it sooner.
	DialTimeout time.Duration
	// MaxInFlight is how many bytes of appends may be under way; 4 MiB by default.
	// Further ones wait. Each counts with its length and 256 bytes.
	MaxInFlight int64
	// MinBackoff and MaxBackoff bound how long a Follow waits before it connects
	// again: MinBackoff the first time, twice as long each further time, and always
	// less than that by a random part of up to a half; 100 ms and 5 s by default.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry is told why a Follow has lost its connection, or could not connect,
	// and how long it waits now. It runs on the goroutine that follows.
	OnRetry func(err error, wait time.Duration)
	// OnResume is told, on the same goroutine, when it has gone on after that.
	OnResume func()
	// DialContext connects in place of net.Dialer, which has TCP's keep-alive on so
	// that a server that is gone is noticed within a minute.
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

// Client speaks with one server. All methods may be called from any goroutine.
type Client struct {
	addr  string
	opts  Options
	token []byte // the line that begins every connection, if any

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // every goroutine of the client's

	room    *semaphore.Weighted // MaxInFlight
	waiters sync.Pool           // of *waiter
	lane    atomic.Pointer[lane]

	mu      sync.Mutex
	dialing *dialing // a lane that is on its way
	idle    *lane    // over a connection whose read has ended; nothing is appended over it
	closed  bool
}

// dialing is a connection for a lane on its way; done is closed at its end.
type dialing struct {
	done chan struct{}
	lane *lane
	err  error
}

// Dial connects to the server at addr, which is host:port, so that an address that
// is wrong shows at once. That the token is right shows only when it is used.
func Dial(ctx context.Context, addr string, options Options) (*Client, error) {
	options = options.withDefaults(addr)
	c := &Client{addr: addr, opts: options, room: semaphore.NewWeighted(options.MaxInFlight)}
	c.waiters.New = func() any { return newWaiter() }
	if options.Token != "" {
		line, err := json.Marshal(map[string]string{"token": options.Token})
		if err != nil {
			return nil, err
		}
		c.token = append(line, '\n')
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	nc, err := c.connect(ctx)
	if err != nil {
		c.cancel(nil)
		return nil, err
	}
	c.lane.Store(c.newLane(nc))
	return c, nil
}

// connect opens a connection on which the token has been sent.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.DialTimeout)
	defer cancel()
	nc, err := c.opts.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	if c.opts.TLS != nil {
		secured := tls.Client(nc, c.opts.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = secured
	}
	if len(c.token) > 0 {
		deadline, _ := ctx.Deadline()
		nc.SetWriteDeadline(deadline)
		if _, err := nc.Write(c.token); err != nil {
			nc.Close()
			return nil, lost(err)
		}
		nc.SetWriteDeadline(time.Time{})
	}
	return nc, nil
}

// connected returns the lane, connecting anew if the last one has ended. Those who
// come meanwhile share one dial, which the end of one's context does not end.
func (c *Client) connected(ctx context.Context) (*lane, error) {
	if l := c.lane.Load(); l != nil && !l.ended.Load() {
		return l, nil
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if l := c.lane.Load(); l != nil && !l.ended.Load() {
		c.mu.Unlock()
		return l, nil
	}
	d := c.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		c.dialing = d
		c.running.Go(func() { c.dialLane(d) })
	}
	c.mu.Unlock()
	select {
	case <-d.done:
		return d.lane, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
}

// dialLane opens a lane for those who wait for d.
func (c *Client) dialLane(d *dialing) {
	if l := c.lane.Load(); l != nil {
		select {
		case <-l.done: // what was appended before is completed before
		case <-c.ctx.Done():
		}
	}
	nc, err := c.takeIdle(), error(nil)
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
		d.lane = c.newLane(nc)
		c.lane.Store(d.lane)
	}
	close(d.done)
}

// takeIdle returns a connection that nothing is under way on, or nil.
func (c *Client) takeIdle() net.Conn {
	c.mu.Lock()
	l := c.idle
	c.idle = nil
	c.mu.Unlock()
	if l != nil {
		if nc := l.release(); nc != nil {
			return nc
		}
	}
	if l = c.lane.Load(); l != nil {
		return l.release()
	}
	return nil
}

// keepIdle keeps a connection for takeIdle. Meanwhile somebody reads from it, so
// that its end is noticed.
func (c *Client) keepIdle(nc net.Conn) (kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.idle != nil && !c.idle.ended.Load() {
		return false
	}
	c.idle = c.newLane(nc)
	return true
}

// Close ends every connection and returns once everything that the client runs has
// ended. It waits for no answer: appends that are under way end with ErrUnknown or
// ErrNotSent, reads with ErrClosed. Later calls do nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.cancel(ErrClosed)
	if c.idle != nil {
		c.idle.interrupt()
	}
	if l := c.lane.Load(); l != nil {
		l.interrupt()
	}
	c.mu.Unlock()
	c.running.Wait()
	return nil
}
