package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"tcp-log-server/canonical"
	"tcp-log-server/internal/nowait"
)

// stream is the connection of a read. One goroutine owns it.
type stream struct {
	client *Client
	nc     net.Conn
	source io.Reader // of nc
	closed []func() bool

	// Returned lines are never overwritten, however long they are kept.
	buf    []byte
	lo, hi int  // received and not yet returned
	known  bool // plainEntry has parsed an entry of this server correctly
	odd    bool // or incorrectly: all lines are parsed as JSON
}

// The buffer of a read is streamMin bytes long while little arrives, and grows to streamMax if a
// lot does. Only a longer line takes more.
const (
	streamMin = 4 << 10
	streamMax = 64 << 10
)

// open opens a connection for a read. The stream ends when ctx does.
func (c *Client) open(ctx context.Context) (*stream, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s := &stream{client: c, nc: c.takeDialed()}
	if s.nc == nil {
		var err error
		if s.nc, err = c.dialStream(ctx); err != nil {
			return nil, err
		}
	}
	s.source = s.nc
	if direct := nowait.NewConn(s.nc); direct != nil {
		s.source = direct
	}
	stop := func() { s.nc.SetDeadline(time.Unix(1, 0)) }
	s.closed = []func() bool{context.AfterFunc(ctx, stop), context.AfterFunc(c.ctx, stop)}
	return s, nil
}

// write sends a request. Connection errors show up when the answer is read.
func (s *stream) write(request []byte) { s.nc.Write(request) }

// dialStream is connect, which Close ends too.
func (c *Client) dialStream(ctx context.Context) (net.Conn, error) {
	dial, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	nc, err := c.connect(dial)
	if err != nil && dial.Err() != nil {
		err = context.Cause(dial)
	}
	return nc, err
}

// close ends the stream.
func (s *stream) close() {
	for _, stop := range s.closed {
		stop()
	}
	s.nc.Close()
}

// failure returns the error of a stream that ended with err.
func (s *stream) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.client.ctx.Err() != nil:
		return ErrClosed
	case errors.Is(err, io.EOF):
		err = errors.New("closed by the server")
	}
	return lost(err)
}

// line returns the next line, without its newline.
func (s *stream) line(ctx context.Context) ([]byte, error) {
	from := s.lo
	for {
		if i := bytes.IndexByte(s.buf[from:s.hi], '\n'); i >= 0 {
			line := s.buf[s.lo : from+i]
			s.lo = from + i + 1
			return line, nil
		}
		from = s.hi
		if len(s.buf)-s.hi < streamMin/4 {
			from = s.makeRoom()
		}
		n, err := s.source.Read(s.buf[s.hi:])
		s.hi += n
		if s.client.opts.TLS == nil && answersTLS(s.buf[s.lo:s.hi]) {
			return nil, ErrNeedsTLS
		}
		if n == 0 && err != nil {
			return nil, s.failure(ctx, err)
		}
	}
}

// makeRoom starts a new buffer with the unfinished line, and returns where the rest of it
// will start.
func (s *stream) makeRoom() int {
	rest := s.buf[s.lo:s.hi]
	size := max(min(2*len(s.buf), streamMax), 2*len(rest), streamMin)
	s.buf = make([]byte, size)
	s.lo, s.hi = 0, copy(s.buf, rest)
	return s.hi
}

// kind is the kind of a line.
type kind int

const (
	entryLine   kind = iota // {"index":N,"entry":E}
	damagedLine             // {"index":N,"error":"…"}
	currentLine             // {"current":true}
	headLine                // {"head":N}
	atLine                  // {"at":N}
	statLine                // {"stat":{…}}
)

// message is a line from the server that answers a read.
type message struct {
	kind  kind
	index uint64 // of an entry, or the head, or how far a read has got
	value []byte // an entry or a stat
	text  string // of damage
	time  time.Time
	hash  string
}

// errUnasked ends a read on an answer to something else.
var errUnasked = fmt.Errorf("%w: an answer to a read that was not asked for", ErrProtocol)

// next returns the next message, or the error that ends the stream.
func (s *stream) next(ctx context.Context) (message, error) {
	line, err := s.line(ctx)
	if err != nil {
		return message{}, err
	}
	if !s.odd {
		if m, ok := plainEntry(line); ok {
			if s.known {
				return m, nil
			}
			// If a server puts more members after the entry, they look like a part of it. The
			// first line shows whether it does.
			n, err := canonical.Skip(m.value)
			if s.known = err == nil && n == len(m.value); s.known {
				return m, nil
			}
			s.odd = true
		}
	}
	return s.parse(line)
}

// plainEntry parses a line in the form in which the server writes entries. It treats everything up
// to the last brace as the entry.
func plainEntry(line []byte) (m message, ok bool) {
	const head, mid = `{"index":`, `,"entry":`
	if len(line) < len(head)+len(mid)+2 || string(line[:len(head)]) != head {
		return m, false
	}
	index, n := digits(line[len(head):])
	rest := line[len(head)+n:]
	if stamp, after, found := text(rest, `,"time":"`); found {
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err != nil {
			return m, false
		}
		m.time, rest = at, after
	}
	if hash, after, found := text(rest, `,"hash":"`); found {
		m.hash, rest = string(hash), after
	}
	if n == 0 || len(rest) < len(mid)+2 || string(rest[:len(mid)]) != mid || rest[len(rest)-1] != '}' {
		return m, false
	}
	end := len(rest) - 1
	// The capacity ends here too, so that appending to the value does not overwrite the next line.
	m.index, m.value = index, rest[len(mid):end:end]
	return m, true
}

// text parses the string without escapes that comes after prefix, which has its first quote.
func text(line []byte, prefix string) (text, after []byte, ok bool) {
	if len(line) < len(prefix) || string(line[:len(prefix)]) != prefix {
		return nil, line, false
	}
	line = line[len(prefix):]
	end := bytes.IndexByte(line, '"')
	if end < 0 {
		return nil, line, false
	}
	return line[:end], line[end+1:], true
}

// parse parses a line of any form.
func (s *stream) parse(line []byte) (message, error) {
	var m struct {
		Index   *uint64
		Entry   json.RawMessage
		Error   *string
		Current bool
		Head    *uint64
		At      *uint64
		Stat    json.RawMessage
		Time    time.Time
		Hash    string
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("%w: the answer to a read is %.100q", ErrProtocol, line)
	}
	switch {
	case m.Index != nil && m.Error != nil:
		return message{kind: damagedLine, index: *m.Index, text: *m.Error}, nil
	case m.Index != nil && m.Entry != nil:
		return message{kind: entryLine, index: *m.Index, value: m.Entry, time: m.Time, hash: m.Hash}, nil
	case m.Error != nil:
		return message{}, faultError(*m.Error)
	case m.Current:
		return message{kind: currentLine}, nil
	case m.Head != nil:
		return message{kind: headLine, index: *m.Head}, nil
	case m.At != nil:
		return message{kind: atLine, index: *m.At}, nil
	case m.Stat != nil:
		return message{kind: statLine, value: m.Stat}, nil
	}
	return message{}, fmt.Errorf("%w: the answer to a read is %.100q", ErrProtocol, line)
}
