package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// ending is why a connection's input has ended, and so what is still sent.
type ending int

const (
	endNot      ending = iota
	endInput           // end of input: acknowledgements, and a read up to its snapshot
	endInvalid         // not JSON: acknowledgements, then the error
	endShutdown        // acknowledgements
)

// conn is one connection.
type conn struct {
	server *Server
	raw    net.Conn // the socket
	nc     net.Conn // what is spoken over: patient, and TLS where there is
	log    zerolog.Logger
	ctx    context.Context // done when the connection is cut
	cancel context.CancelCauseFunc

	// send is held by whoever sends: the writing side while it has anything to do,
	// or the log's goroutine that acknowledges (acknowledge.go).
	send   sync.Mutex
	socket *socket // raw, if it is one: then others than the writing side may send too
	plain  bool    // under send: replies are all that there is to send

	// rights, idle and mixed belong to the reading side, which sets rights under mu.
	rights Rights
	idle   bool // a token as the first line changes nothing: there was no need for it
	mixed  bool // something else than a write has come
	loan   loan
	number uint64 // of this connection among all

	arriving held  // the line that is arriving, where it is long
	place    place // and where it is longer still
	stuck    held  // output that waits for the peer

	wake chan struct{} // holds a token when the writing side has something to look at
	room chan struct{} // holds a token when unsent may have sunk

	mu       sync.Mutex
	unsaid   []byte   // what comes before anything else: the rest of a write
	asides   []byte   // lines that answer no write and are of no read
	acked    []*group // done, in the order of their writes
	pending  int      // groups that the log has not acknowledged
	unsent   int64    // bytes of replies and asides that are pending or not yet sent
	prepared *request // a read that is about to start; acked waits for it
	request  *request // a read that the writing side has not yet taken
	reading  bool     // from the parsing of a read until its last line
	end      ending
	stopped  bool      // by Shutdown
	dead     bool      // nothing will be sent any more
	token    *[32]byte // the SHA-256 of the token that let the peer in, nil if none did
}

// request is a read as it was parsed.
type request struct {
	next     uint64 // the cursor: the next index to send
	through  uint64 // the last index to send, MaxUint64 if there is none
	snapshot uint64 // the head when the read was parsed
	current  bool   // {"current":true} has been sent: the read follows
}

func newConn(s *Server, nc net.Conn) *conn {
	var id [8]byte
	rand.Read(id[:])
	c := &conn{
		number: s.counts.accepted.Load(),
		server: s,
		raw:    nc,
		wake:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		loan:   loan{back: make(chan received, 1), wanted: make(chan struct{}, 1)},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	if s.cfg.TLS == nil {
		if c.socket = newSocket(nc, c.recall); c.socket != nil {
			c.raw = c.socket
		}
	}
	c.nc = &patient{Conn: c.raw, timeout: s.cfg.WriteTimeout, counts: &s.counts}
	if s.cfg.TLS != nil {
		c.nc = tls.Server(c.nc, s.cfg.TLS)
	}
	with := s.cfg.Logger.With().Str("connection", hex.EncodeToString(id[:]))
	c.log = with.Logger()
	return c
}

// serve runs the connection until it is closed.
func (c *conn) serve() {
	defer c.server.leave(c)
	c.greet()
	switch rest, err := c.enter(); {
	case err == nil:
		c.converse(rest)
	case errors.Is(err, errUnauthorized):
		c.turnAway()
	default:
		c.cut(err)
	}
	c.linger()
	c.nc.Close()
	level, cause := zerolog.InfoLevel, closeCause(c.ctx)
	if errors.Is(cause, errLog) {
		level = zerolog.ErrorLevel
	}
	c.log.WithLevel(level).Str("event", "close").AnErr("error", cause).Send()
	c.cancel(nil)
}

// converse exchanges messages until there are no more: the reading side here, the
// writing side beside it. The writing side ends after the reading side has, or
// cuts the connection, so each waits for the other without fail. received is the
// beginning of the input.
func (c *conn) converse(received []byte) {
	var writing sync.WaitGroup
	writing.Go(func() {
		o := output{conn: c}
		if err := o.run(); err != nil {
			c.cut(err)
		}
		c.bury()
	})
	if err := c.readInput(received); err != nil {
		c.cut(err)
	}
	writing.Wait()
}

// greet sets the socket up and logs the connection.
func (c *conn) greet() {
	event := c.log.Info().Str("event", "connected")
	if addr, ok := c.raw.RemoteAddr().(*net.TCPAddr); ok {
		event = event.Str("address", addr.IP.String()).Int("port", addr.Port)
	}
	event.Send()
	if tcp, ok := c.raw.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
}

// errLog: it is the log, not the peer, that ended the connection.
var errLog = errors.New("the log cannot be read")

// closeCause is the error that ended the connection, nil for an orderly end.
func closeCause(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == io.EOF || err == context.Canceled {
		return nil
	}
	return err
}

// poke makes the writing side look.
func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the input, once the reading side has submitted all that it will: the
// writing side sends what is still due and closes.
func (c *conn) stop(why ending) {
	c.mu.Lock()
	if c.stopped && why == endInput {
		why = endShutdown
	}
	c.end = why
	c.mu.Unlock()
	c.poke()
}

// interrupt ends the input for Shutdown. Only the reading side knows what it has
// accepted, so it is woken, wherever it waits for input, and stops by itself.
func (c *conn) interrupt() {
	c.mu.Lock()
	c.stopped = true
	if c.end == endInput {
		c.end = endShutdown
	}
	c.mu.Unlock()
	c.nc.SetReadDeadline(time.Unix(1, 0))
	c.recall()
	c.poke()
}

// cut ends the connection at once.
func (c *conn) cut(err error) {
	c.cancel(err)
	c.raw.Close()
	c.poke()
}

// lingering bounds how long, and how much, a closing connection still reads.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger tells the peer the end and then reads on until it hangs up too, within
// bounds: input that nobody reads would make the kernel reset the connection,
// and the peer lose lines that were sent.
func (c *conn) linger() {
	c.mu.Lock()
	end := c.end
	c.mu.Unlock()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if c.ctx.Err() != nil || end == endInput || !ok || half.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c.nc, lingerBytes)
}

// bury marks the connection as one that sends nothing any more.
func (c *conn) bury() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for _, g := range c.acked {
		g.release()
	}
	c.acked = nil
}

// lockWithRoom locks mu once there is room for more replies. The error, with
// which mu is not locked, means that the connection was cut meanwhile.
func (c *conn) lockWithRoom() error {
	for {
		c.mu.Lock()
		if c.unsent < c.server.unsentMax() {
			return nil
		}
		c.mu.Unlock()
		c.startRead() // what would make room must not wait for it
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// submit gives the group's entries to the log, once there is room for them and
// for their replies. The error means that the connection was cut meanwhile.
func (c *conn) submit(g *group) error {
	if err := c.lockWithRoom(); err != nil {
		return err
	}
	c.pending++
	c.unsent += g.size()
	c.mu.Unlock()
	g.cost = min(int64(len(g.entries)), c.server.cfg.MaxInFlight)
	if err := c.server.budget.Acquire(c.ctx, g.cost); err != nil {
		c.mu.Lock()
		c.pending--
		c.mu.Unlock()
		return context.Cause(c.ctx)
	}
	c.server.turns.note()
	c.server.log.Append(g.entries, g.count, g.done)
	return nil
}

// trySubmit is submit where there is room, otherwise ok is false. It never waits.
func (c *conn) trySubmit(g *group) (ok bool) {
	g.cost = min(int64(len(g.entries)), c.server.cfg.MaxInFlight)
	if !c.server.budget.TryAcquire(g.cost) {
		return false
	}
	c.mu.Lock()
	if ok = c.unsent < c.server.unsentMax(); ok {
		c.pending++
		c.unsent += g.size()
	}
	c.mu.Unlock()
	if !ok {
		c.server.budget.Release(g.cost)
		return false
	}
	c.server.turns.note()
	c.server.log.Submit(g.entries, g.count, g.done)
	return true
}

// sent notes that replies of n bytes have gone out.
func (c *conn) sent(n int64) {
	c.mu.Lock()
	c.unsent -= n
	c.mu.Unlock()
	c.makeRoom()
}

// makeRoom lets the reading side look whether there is room again.
func (c *conn) makeRoom() {
	select {
	case c.room <- struct{}{}:
	default:
	}
}

// fault sends an error that answers no write. The error that it returns means that
// the connection was cut meanwhile.
func (c *conn) fault(text string) error { return c.aside(errorLine(text)) }

// aside sends a line that answers no write and is of no read, once there is room
// for it. The error means that the connection was cut meanwhile.
func (c *conn) aside(line []byte) error {
	if err := c.lockWithRoom(); err != nil {
		return err
	}
	c.asides = append(c.asides, line...)
	c.unsent += int64(len(line))
	c.mu.Unlock()
	c.poke()
	return nil
}

// prepareRead makes the request of a read, with the head of this moment as its
// snapshot, unless one is running already. It starts with startRead, once
// everything that arrived with it has been looked at, so that its lines come
// after the errors of what did. Until then acknowledgements wait: those of writes
// that arrived with it, and so are beyond its snapshot, come after {"current":true}.
func (c *conn) prepareRead(m message) error {
	c.mu.Lock()
	busy := c.reading
	c.reading = true
	c.mu.Unlock()
	if busy {
		return c.fault("already reading")
	}
	head, err := c.server.log.Head(c.ctx)
	if err != nil {
		return err
	}
	r := &request{next: m.from, through: math.MaxUint64, snapshot: head}
	if m.count > 0 && m.count-1 <= math.MaxUint64-m.from {
		r.through = m.from + (m.count - 1)
	}
	c.mu.Lock()
	c.prepared = r
	c.mu.Unlock()
	return nil
}

// startRead hands the request that was prepared to the writing side.
func (c *conn) startRead() {
	c.mu.Lock()
	ready := c.prepared != nil
	if ready {
		c.request, c.prepared = c.prepared, nil
	}
	c.mu.Unlock()
	if ready {
		c.poke()
	}
}

// isDeadline reports whether a read or write ended because its time was over.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
