package legacy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strconv"
	"time"
)

// Generation is a version of the original's protocol.
type Generation int

// The generations differ in how a read is requested and how it ends.
const (
	// Streaming is version 6: {"from":N} requests all entries.
	Streaming Generation = 6
	// Pulling is versions 9 and 10: {"from":N,"read":M}. This project's server speaks it too.
	Pulling Generation = 9
)

// String returns the versions of the original.
func (g Generation) String() string {
	if g == Streaming {
		return "version 6"
	}
	return "version 9 or later"
}

const (
	// pull is how many entries one message requests.
	pull = 4096
	// never is an index that no log reaches: JavaScript's largest safe integer.
	never = 1<<53 - 1
)

// Server is a running original server. It allows one Read at a time.
type Server struct {
	Addr string
	// Quiet is how long a server of version 6 must be silent before Read assumes that it has sent
	// everything: it reports that it is current before it sends the last entries. Read waits for
	// two such pauses.
	Quiet time.Duration
	// Timeout is how long Read waits for the server's next line.
	Timeout time.Duration

	generation Generation
}

// NewServer connects to the server at addr and detects its generation. The error is that of ctx or
// the network, or wraps ErrSource.
func NewServer(ctx context.Context, addr string) (*Server, error) {
	s := &Server{Addr: addr, Quiet: time.Second, Timeout: time.Minute}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	m, err := c.ask(fmt.Sprintf(`{"from":%d}`, uint64(never)))
	if err != nil {
		return nil, err
	}
	s.generation = Pulling
	if !m.Current {
		return s, nil // it needs a "read" first
	}
	// Version 6 ignores "read" and is already reading.
	m, err = c.ask(`{"from":1,"read":0}`)
	if err == nil && m.Error == "already reading" {
		s.generation = Streaming
	}
	return s, err
}

// Generation returns the server's generation.
func (s *Server) Generation() Generation { return s.generation }

// Read yields the server's entries from index from on, in order. It yields an entry with ErrMissing
// for an index that the server leaves out, and one with ErrDamaged if the server reports an error.
// An error ends the read: that of ctx or the network, or one that wraps ErrSource.
func (s *Server) Read(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := &serverRead{s: s, next: max(from, 1), yield: yield}
		defer func() {
			if r.c != nil {
				r.c.close()
			}
		}()
		for !r.ended {
			before := r.next
			err := r.round(ctx)
			if r.stopped {
				return
			}
			if err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				yield(Entry{}, err)
				return
			}
			if s.generation == Streaming {
				r.ended = r.next == before // this round found nothing new
			}
		}
	}
}

// serverRead is one read of a server.
type serverRead struct {
	s       *Server
	c       *conn
	next    uint64
	yield   func(Entry, error) bool
	stopped bool // by yield
	ended   bool // nothing more to read
}

// round sends one request and yields the entries of its answer.
func (r *serverRead) round(ctx context.Context) error {
	if r.c == nil {
		c, err := r.s.dial(ctx)
		if err != nil {
			return err
		}
		r.c = c
	}
	request := fmt.Sprintf(`{"from":%d,"read":%d}`, r.next, pull)
	if r.s.generation == Streaming {
		request = fmt.Sprintf(`{"from":%d}`, r.next)
	}
	if err := r.c.send(request); err != nil {
		return err
	}
	disconnect := func() {
		r.c.close()
		r.c = nil
	}
	current := false
	for got := 0; ; {
		timeout := r.s.Timeout
		if current {
			timeout = r.s.Quiet
		}
		m, err := r.c.receive(timeout)
		switch {
		case current && errors.Is(err, os.ErrDeadlineExceeded):
			disconnect()
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w closed the connection before index %d: if it crashed, its blob of that entry may be damaged: stop it, and import from its directories", ErrSource, r.next)
		case err != nil:
			return fmt.Errorf("before index %d: %w", r.next, err)
		case m.Entry != nil || m.Index > 0:
			got++
			if !r.give(m) {
				r.stopped = true
				return nil
			}
		case m.Error != "":
			return fmt.Errorf("%w says %q before index %d", ErrSource, m.Error, r.next)
		case m.Current && r.s.generation == Streaming:
			current = true
		case m.Current:
			// Version 10 does not count the entries that it sends without an index, so its read never
			// ends, and the connection cannot start another.
			disconnect()
			r.ended = got < pull
			return nil
		case m.Head != nil:
			r.ended = r.next > *m.Head
			return nil
		}
	}
}

// give yields the missing entries before a message's, and then its entry.
func (r *serverRead) give(m message) bool {
	if m.Index == 0 {
		m.Index = r.next // version 10 omits it for stored entries
	}
	if m.Index < r.next {
		return true // an entry appended during the read is sent twice
	}
	for ; r.next < m.Index; r.next++ {
		if !r.yield(Entry{Index: r.next, Err: ErrMissing}, nil) {
			return false
		}
	}
	r.next++
	e := Entry{Index: m.Index, Text: m.Entry}
	if m.Error != "" {
		e = Entry{Index: m.Index, Err: fmt.Errorf("%w: %s", ErrDamaged, m.Error)}
	}
	return r.yield(e, nil)
}

// message is a line from a server.
type message struct {
	Index   uint64          `json:"index"`
	Entry   json.RawMessage `json:"entry"`
	Current bool            `json:"current"`
	Head    *uint64         `json:"head"`
	Error   string          `json:"error"`
}

// conn is a connection to a server.
type conn struct {
	net.Conn
	in   *bufio.Reader
	stop func() bool
}

func (s *Server) dial(ctx context.Context) (*conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 256<<10), stop: stop}, nil
}

func (c *conn) close() {
	c.stop()
	c.Close()
}

func (c *conn) send(line string) error {
	if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := c.Write([]byte(line + "\n"))
	return err
}

// ask sends a line and returns the next line received.
func (c *conn) ask(line string) (message, error) {
	if err := c.send(line); err != nil {
		return message{}, err
	}
	m, err := c.receive(10 * time.Second)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w does not answer %s: is it one? (%w)", ErrSource, line, err)
	}
	return m, err
}

// receive returns the next line, which must begin within timeout.
func (c *conn) receive(timeout time.Duration) (message, error) {
	if c.in.Buffered() == 0 {
		if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return message{}, err
		}
		if _, err := c.in.Peek(1); err != nil {
			return message{}, err
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return message{}, err
	}
	line, err := c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		start := bytes.Clone(line)
		line, err = c.in.ReadBytes('\n')
		line = append(start, line...)
	}
	if err != nil {
		return message{}, err
	}
	return parseLine(bytes.TrimSpace(line))
}

// parseLine parses a line. The line of an entry always has the same form, so it is cut at fixed
// places: a JSON parser would limit the nesting depth.
func parseLine(line []byte) (message, error) {
	var m message
	rest, ok := bytes.CutPrefix(line, []byte("{"))
	if digits, isIndex := bytes.CutPrefix(rest, []byte(`"index":`)); ok && isIndex {
		digits, after, _ := bytes.Cut(digits, []byte(","))
		if n, err := strconv.ParseUint(string(digits), 10, 64); err == nil && n > 0 {
			m.Index, rest = n, after
		}
	}
	if text, isEntry := bytes.CutPrefix(rest, []byte(`"entry":`)); ok && isEntry && bytes.HasSuffix(text, []byte("}")) {
		m.Entry = text[:len(text)-1]
		return m, nil
	}
	m = message{}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("%w sends %.80q: is it a tcp-log-server? (%w)", ErrSource, line, err)
	}
	return m, nil
}
