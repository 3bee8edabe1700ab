package server

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"tcp-log-server/internal/pieces"
)

const (
	// readBulk is how many bytes are read at a time while at most bulkConns connections are
	// open, readFew with more: a connection that has to wait before it can continue keeps
	// the buffer.
	readBulk  = 128 << 10
	readFew   = 8 << 10
	bulkConns = 1024
	// readOwn is the buffer size of a connection that needs one while it waits for input:
	// under TLS, which returns at most 16 KiB at a time.
	readOwn = 16 << 10
	// lineFree is how long a line that arrives in pieces may be, in bytes, without counting
	// toward Config.MaxHeld; linePart is its first buffer.
	lineFree = 16 << 10
	linePart = 1 << 10
	// groupMax is how many bytes of entries one group collects, so a wait for room is for
	// one group's worth.
	groupMax = 512 << 10
)

// bulkBuffers, smallBuffers and ownBuffers hold input buffers of readBulk, readFew and
// readOwn bytes.
var (
	bulkBuffers  = sync.Pool{New: func() any { b := make([]byte, readBulk); return &b }}
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, readFew); return &b }}
	ownBuffers   = sync.Pool{New: func() any { b := make([]byte, readOwn); return &b }}
)

// handOffAfter is after how many consecutive reads of whole lines with nothing but writes a
// connection is handed off. Tests change it.
var handOffAfter = 8

// handOffAgain is after how many such reads a connection that was the only one is handed
// off again, in case there are others by then.
const handOffAgain = 4096

// reader splits a connection's input into lines and acts on them.
type reader struct {
	conn  *conn
	parse parser

	entries bool // lines are not messages but entries
	whole   bool // the input up to its end is one line

	own *[]byte // of ownBuffers, until the end of the input; used where a shared buffer is impossible during a wait

	more      bool   // there is more input after the current line
	part      []byte // the beginning of a line that has not ended yet
	discards  bool   // discarding the rest of a line that is over the limit
	arriving  share  // memory of part
	arrivingN int64  // bytes in it

	logged   int    // bad messages logged one by one
	unlogged uint64 // other bad messages

	greeted  bool // a message has arrived, so a token is no longer accepted
	begun    bool // a message other than a token has arrived, so "replicate" is no longer accepted
	other    bool // something other than a write has arrived since the last read
	onlySeen int  // reads since the last that held anything except whole lines of writes
}

// run reads the connection until its input ends for any reason; received is the beginning
// of the input. An error means that the connection must be cut.
func (r *reader) run(received []byte) error {
	c := r.conn
	defer r.end()
	if end, err := r.input(received); end || err != nil {
		return err
	}
	for {
		end, err := r.receive()
		switch {
		case end:
			return err
		case err == nil:
		case errors.Is(err, io.EOF):
			return r.endOfInput()
		case isDeadline(err):
			c.outbox.stop(endShutdown) // what was accepted is still acknowledged
			return nil
		default:
			return err
		}
		if r.onlySeen++; len(r.part) > 0 || r.discards || r.other {
			r.onlySeen, r.other = 0, false
		}
	}
}

// receive waits for input and acts on it. end means that nothing more is to be read.
func (r *reader) receive() (end bool, err error) {
	c := r.conn
	if c.shared != nil && r.onlySeen >= handOffAfter {
		back, ok := c.shared.HandOff(c.ctx)
		if ok {
			r.onlySeen = 0
		}
		if back.Alone {
			r.onlySeen = handOffAfter - handOffAgain
		}
		if len(back.B) > 0 || back.Err != nil {
			return r.act(back.B, back.Err)
		}
	}
	if r.arrivingN > 0 {
		r.arriving.await()
	}
	if c.direct == nil {
		if r.own == nil {
			r.own = ownBuffers.Get().(*[]byte)
		}
		n, err := c.nc.Read(*r.own)
		r.came(n)
		return r.act((*r.own)[:n], err)
	}
	pool := &bulkBuffers
	if c.server.open.Load() > bulkConns {
		pool = &smallBuffers
	}
	b, n, err := c.direct.ReadPooled(pool)
	c.server.counts.received.Add(uint64(n))
	r.came(n)
	if b == nil {
		return false, err
	}
	defer pool.Put(b)
	return r.act((*b)[:n], err)
}

// came notes that the wait for input is over.
func (r *reader) came(n int) {
	if r.arrivingN > 0 {
		r.arriving.moved(n)
	}
}

// act acts on the result of a read.
func (r *reader) act(b []byte, err error) (end bool, _ error) {
	if len(b) > 0 {
		if end, err := r.input(b); end || err != nil {
			return end, err
		}
	}
	return false, err
}

// endOfInput treats whatever follows the last newline as a line.
func (r *reader) endOfInput() error {
	c := r.conn
	c.log.Debug().Str("event", "end").Msg("end of the client's input")
	if r.whole = false; len(r.part) > 0 {
		if end, err := r.input([]byte("\n")); end || err != nil {
			return err
		}
	}
	c.outbox.stop(endInput)
	return nil
}

// input acts on every complete line and keeps the rest. end means that nothing more is
// to be read. An error means that the connection was, or is to be, cut.
func (r *reader) input(b []byte) (end bool, err error) {
	c := r.conn
	g := newGroup(c)
	limit := c.server.cfg.MaxEntry + lineSlack
	for !end && err == nil {
		i := bytes.IndexByte(b, '\n')
		if i < 0 || r.whole {
			r.more = false
			err = c.flush(g)
			break
		}
		line := b[:i]
		b = b[i+1:]
		r.more = len(b) > 0
		if len(r.part) > 0 { // g is empty
			if err = r.keep(line); err != nil {
				break
			}
			line = r.part
		}
		switch {
		case r.discards:
			r.discards = false
		case len(line) >= limit: // a read may be longer than a small limit
			if err = c.flush(g); err == nil {
				g, err = newGroup(c), r.tooLong(line)
			}
		default:
			g, end, err = r.line(g, line)
		}
		r.drop()
	}
	c.outbox.startRead()
	switch {
	case end || err != nil:
	case len(r.part) == 0 && !r.entries && startsTLS(b):
		_, end, err = r.line(newGroup(c), b)
	default:
		err = r.keep(b)
	}
	return end, err
}

// flush submits the group if it has any writes.
func (c *conn) flush(g *group) error {
	if len(g.ends) == 0 {
		g.release()
		return nil
	}
	return c.submit(g)
}

// keep appends b to the partly received line, once there is memory for it. A line that is
// too long is answered and its rest discarded.
func (r *reader) keep(b []byte) error {
	c := r.conn
	limit := c.server.cfg.MaxEntry + lineSlack
	if r.discards || len(b) == 0 {
		return nil
	}
	n := min(len(r.part)+len(b), limit)
	if n > cap(r.part) {
		size := min(max(2*cap(r.part), n, linePart), limit)
		if size > lineFree {
			// The canonical form will take as much memory again.
			if err := c.server.memory.wait(c.ctx, &r.arriving, 2*int64(size)); err != nil {
				return err
			}
			r.arrivingN = 2 * int64(size)
		}
		r.part = pieces.Append(make([]byte, 0, size), r.part)
	}
	r.part = append(r.part, b[:n-len(r.part)]...)
	if n < limit {
		return nil
	}
	r.discards = true
	err := r.tooLong(r.part)
	r.drop()
	return err
}

// end releases what the reader holds.
func (r *reader) end() {
	r.drop()
	if r.own != nil {
		ownBuffers.Put(r.own)
		r.own = nil
	}
}

// drop forgets the partly received line.
func (r *reader) drop() {
	if r.arrivingN > 0 {
		r.conn.server.memory.hold(&r.arriving, 0)
		r.arrivingN = 0
	}
	if r.part = r.part[:0]; cap(r.part) > linePart {
		r.part = nil
	}
}
