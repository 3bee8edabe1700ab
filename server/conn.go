package server

import (
	"container/list"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/server/internal/gather"
	"tcp-log-server/server/internal/message"
)

// conn is one connection: its socket, and its life from admission to close. The reader acts on the
// input, the writer sends, and the outbox is between them.
type conn struct {
	server *Server
	raw    net.Conn       // the socket
	direct *gather.Socket // raw, for calls that do not wait; nil under TLS or if raw is not a TCP socket
	nc     net.Conn       // carries messages: raw with a stall timeout, and under TLS if configured
	log    zerolog.Logger
	ctx    context.Context // done when the connection is cut
	cancel context.CancelCauseFunc

	// The reading goroutine sets these, under the outbox's mu, so it alone may read them without
	// it.
	rights Rights
	token  *[32]byte // the SHA-256 of the token that admitted the peer, nil if none did

	waits *list.Element // in the server's unknown list, until the peer is admitted; guarded by the server's mu

	reader reader
	shared *gather.Conn // for reading together with other connections; nil if direct is
	outbox outbox
	writer writer
	filter share // what a read's filter takes; see holdFilter
	quiet  bool  // its beginning and end are logged at debug level

	relayed bool     // it is a conversation: see Converse
	replica *replica // set once it is a replication stream; owned by the reader
	streams bool     // it is one, or about to be; guarded by the server's mu

	awaiting context.Context // for the waits that Shutdown ends too; nil until first needed
	asking   sync.WaitGroup  // goroutines that ask for what a read needs, see prepareAsking
}

func newConn(s *Server, nc net.Conn) *conn {
	c := newPlainConn(s, nc)
	if s.cfg.TLS == nil {
		if c.direct = gather.NewSocket(nc, keepAlive); c.direct != nil {
			c.raw = c.direct
			c.shared = s.gather.Conn(c.direct, s.counts.accepted.Load(), c.takeWrites)
			c.nc.(*stallTimeoutConn).Conn = c.raw
		}
	} else {
		c.nc = tls.Server(c.nc, s.cfg.TLS)
	}
	return c
}

// newPlainConn returns a connection without TLS that does not use nc's socket directly.
func newPlainConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, raw: nc}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.reader.conn, c.reader.arriving = c, share{conn: c, epoch: s.began}
	c.writer.conn, c.writer.stuck = c, share{conn: c, epoch: s.began}
	c.filter = share{conn: c, epoch: s.began}
	c.outbox.wake, c.outbox.room = make(chan struct{}, 1), make(chan struct{}, 1)
	c.reader.parse = message.Parse
	c.nc = &stallTimeoutConn{Conn: c.raw, timeout: s.cfg.WriteTimeout, counts: &s.counts, stuck: &c.writer.stuck}
	var id [8]byte
	rand.Read(id[:])
	c.log = s.cfg.Logger.With().Str("connection", hex.EncodeToString(id[:])).Logger()
	return c
}

// serve runs the connection until it is closed.
func (c *conn) serve() {
	defer c.server.leave(c)
	c.greet()
	nc := c.nc
	switch rest, err := c.admit(); {
	case err == nil:
		c.converse(rest)
	case errors.Is(err, errUnauthorized):
		c.turnAway(nc, err)
	case errors.Is(err, errNeedsTLS):
		nc = nc.(*tls.Conn).NetConn()
		c.turnAway(nc, err)
	default:
		c.cut(err)
	}
	c.linger(nc)
	c.nc.Close()
	c.logClose()
	c.cancel(nil)
}

// logClose logs the end of the connection: at debug level, unless an error ended it or bad
// messages went unlogged.
func (c *conn) logClose() {
	level, text, cause, unlogged := zerolog.DebugLevel, "connection closed", closeCause(c.ctx), c.reader.unlogged
	_, unread := errors.AsType[*ReadError](cause)
	switch {
	case unread:
		level, text = zerolog.ErrorLevel, "connection closed by an error of the log"
	case cause != nil:
		level, text = zerolog.InfoLevel, "connection closed by an error"
	case unlogged > 0:
		level, text = zerolog.InfoLevel, "connection closed after bad messages"
	}
	if c.quiet && level == zerolog.InfoLevel {
		level = zerolog.DebugLevel
	}
	event := c.log.WithLevel(level).Str("event", "close").AnErr("error", cause)
	if unlogged > 0 {
		event = event.Uint64("unlogged", unlogged) // bad messages without a log line of their own
	}
	event.Msg(text)
}

// converse exchanges messages until there are no more: it reads here and writes on another
// goroutine, which ends after the reader has ended, or cuts the connection. So each can safely
// wait for the other. received is the beginning of the input.
func (c *conn) converse(received []byte) {
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := c.writer.run(); err != nil {
			c.cut(err)
		}
		c.outbox.close()
	})
	if err := c.reader.run(received); err != nil {
		c.cut(err)
	}
	writing.Wait()
	c.outbox.endWaits()
	c.asking.Wait()
	c.dropFilter() // that of a read that was not meant to end
	c.endStream()
}

// keepAlive makes the kernel give up on a silent peer after two minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// greet sets the socket up and logs the connection.
func (c *conn) greet() {
	c.greetAt(zerolog.InfoLevel)
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
}

// greetAt logs the connection at the given level.
func (c *conn) greetAt(level zerolog.Level) {
	event := c.log.WithLevel(level).Str("event", "connected")
	if addr, ok := c.raw.RemoteAddr().(*net.TCPAddr); ok {
		event = event.Str("address", addr.IP.String()).Int("port", addr.Port)
	}
	event.Msg("client connected")
}

// ReadError is the end of a connection or a Conversation because the log cannot be read now.
type ReadError struct {
	Text string // what the peer may be told
	err  error
}

func (e *ReadError) Error() string { return "the log cannot be read: " + e.err.Error() }
func (e *ReadError) Unwrap() error { return e.err }

// Later reports whether the data lies elsewhere, in an archive, in a store of blobs or on other
// machines, and may be available later.
func (e *ReadError) Later() bool { return strings.HasPrefix(e.Text, notNow) }

// notNow is how the text of a temporary error begins.
const notNow = "not available now: "

// readError returns the error of a connection whose log could not be read.
func (c *conn) readError(err error) error {
	if c.ctx.Err() != nil {
		return err
	}
	return &ReadError{c.server.failures.forPeer(err).Error(), err}
}

// closeCause is the error that ended the connection, nil for an orderly end.
func closeCause(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == io.EOF || err == context.Canceled {
		return nil
	}
	return err
}

// interrupt ends the input for Shutdown. Only the reader knows what it has accepted, so it is
// woken wherever it waits for input, and stops by itself.
func (c *conn) interrupt() {
	c.outbox.interrupt()
	c.nc.SetReadDeadline(time.Unix(1, 0))
	if c.shared != nil {
		c.shared.Reclaim()
	}
}

// cut ends the connection at once.
func (c *conn) cut(err error) {
	c.cancel(err)
	c.raw.Close()
	c.outbox.poke()
}

// lingerTime and lingerBytes bound how long, and how much, a closing connection is still read.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger tells the peer over nc that this is the end, then reads on, within bounds, until the peer
// hangs up too: unread input would make the kernel reset the connection, and the peer would lose
// lines already sent.
func (c *conn) linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if c.ctx.Err() != nil || c.outbox.ending() == endInput || !ok || half.CloseWrite() != nil {
		return
	}
	nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, nc, lingerBytes)
}

// awaitOnce waits until the log can tell whether it holds an entry. Everything before has been
// submitted. The error refuses the writes that need to know.
func (c *conn) awaitOnce() error {
	if c.server.log.AwaitOnce(atOnce) == nil {
		return nil
	}
	c.outbox.startRead() // which may come with what waits here
	ctx := c.untilShutdown()
	err := c.server.log.AwaitOnce(ctx)
	if ctx.Err() != nil {
		err = errStopping
	}
	return err
}

// untilShutdown returns a context that ends with Shutdown or the connection. The reader calls it.
func (c *conn) untilShutdown() context.Context {
	if c.awaiting == nil {
		ctx, stop := context.WithCancel(c.ctx)
		c.outbox.mu.Lock()
		if c.outbox.stopped {
			stop()
		}
		c.awaiting, c.outbox.unwait = ctx, stop
		c.outbox.mu.Unlock()
	}
	return c.awaiting
}

// atOnce is a context for calls that must not wait.
var atOnce = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// fault sends an error that is not a reply to a write, with the id of its message, if any. The
// returned error says why the connection was cut meanwhile.
func (c *conn) fault(id []byte, text string) error { return c.aside(appendFault(nil, id, text)) }

// aside sends a line that answers no write and belongs to no read, once there is room for it. The
// error says why the connection was cut meanwhile.
func (c *conn) aside(line []byte) error {
	if err := c.lockWithRoom(); err != nil {
		return err
	}
	o := &c.outbox
	o.asides = append(o.asides, line...)
	o.unsent += int64(len(line))
	o.mu.Unlock()
	o.poke()
	return nil
}

// Form is the form of what a peer sends.
type Form uint8

const (
	// Messages: each line is a message of the protocol.
	Messages Form = iota
	// EntryLines: each line is an entry to append.
	EntryLines
	// OneEntry: everything up to the end of the input is one entry to append.
	OneEntry
	// OneBatch: everything up to the end of the input is entries, with or without white space
	// between them, to append together or not at all.
	OneBatch
)

// Conversation describes a conversation with a peer admitted by a front door other than Serve: see
// Server.Converse.
type Conversation struct {
	// Token is the SHA-256 of the token that admitted the peer and gives it its rights. If Token
	// is nil, the peer has all rights.
	Token *[32]byte
	// Name is the name in the peer's certificate, for the log; it may be empty. A token has its
	// own name.
	Name string
	// Form is the form of the input.
	Form Form

	// On and Receipt mean what "if", "once" and "receipt" mean in a message. They are for the
	// forms other than Messages; replies then have no ids.
	On      appends.Condition
	Receipt bool
	// OnReply, if not nil, is told the outcome of each write before its reply is written.
	OnReply func(Outcome)
}

// Outcome is the result of a write.
type Outcome uint8

const (
	Stored       Outcome = iota
	Unmet                // its condition was not met: an appends.ConditionError
	Unacceptable         // not stored, and would not be if it were sent again
	TooLarge             // likewise, because of a limit
	Forbidden            // likewise, because of the peer's rights
	Unstored             // not stored, but may be if it is sent again
	Unknown              // it may or may not be stored
)

// Reasons why a conversation does not begin. ErrUnauthorized also ends one whose token is revoked.
var (
	ErrTooManyConnections = errors.New("too many connections")
	ErrUnauthorized       = errUnauthorized
)

// Converse serves a conversation over nc as Serve does over its own connections: with the same
// limits, in the same memory, and until Shutdown. It returns when nc is closed. Lines may be
// written in pieces of any length.
//
// If nothing was read or written, the error is ErrTooManyConnections, ErrServerClosed or
// ErrUnauthorized; otherwise it is what cut the conversation. It is nil only if everything that
// was accepted has been answered.
func (s *Server) Converse(nc net.Conn, with Conversation) error {
	c := newConversation(s, nc, &with)
	defer nc.Close()
	if err := s.enter(c, true); err != nil {
		return err
	}
	defer s.leave(c)
	defer c.cancel(nil)
	if c.rights = (Rights{Read: true, Write: true}); with.Token != nil && !c.authorizeHash(*with.Token) {
		s.counts.unauthorized.Add(1)
		return ErrUnauthorized
	}
	c.converse(nil)
	c.logClose()
	return context.Cause(c.ctx)
}

// newConversation returns the connection of a conversation.
func newConversation(s *Server, nc net.Conn, with *Conversation) *conn {
	c := newPlainConn(s, nc)
	c.quiet, c.relayed = true, true
	c.writer.onReply = with.OnReply
	if with.Form != Messages {
		terms := message.NewTerms(with.On, with.Receipt)
		c.reader.entries, c.reader.whole = true, with.Form != EntryLines
		c.reader.parse = func(line, entries []byte) (m message.Message, out []byte, err error) {
			m, out = message.ParseEntries(line, entries, terms, with.Form == OneBatch)
			return m, out, nil
		}
	}
	if with.Name != "" && with.Token == nil { // a token's name is added with its rights
		c.log = c.log.With().Str("name", with.Name).Logger()
	}
	c.greetAt(zerolog.DebugLevel)
	return c
}
