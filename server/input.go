package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// inputMin is the buffer of a connection that sends little; inputMax is how
	// far it grows for one that sends a lot at once, as long as there are no more
	// than roomyMax of those. Only a longer line takes more.
	inputMin = 4 << 10
	inputMax = 128 << 10
	roomyMax = 1024
	// inputQuiet is after how many small reads a large buffer is given up.
	inputQuiet = 64
)

// input cuts what a connection sends into lines.
type input struct {
	buf []byte
	lo  int // the line that is being received begins here
	hi  int // and has been received up to here
	// long is set while a line that is over the limit is being discarded.
	long bool

	calm  int  // looks at it since something else than whole lines of writes came
	roomy bool // it is one of roomyMax
	quiet int  // small reads since the last that was not
	base  int  // what had come of the line when it took its place
}

// readInput reads the connection until its input ends, one way or another; its
// beginning has been received already, less than inputMin bytes. An error means
// that the connection is to be cut.
func (c *conn) readInput(received []byte) error {
	in := input{buf: make([]byte, inputMin)}
	defer in.end(c)
	in.hi = copy(in.buf, received)
	if end, err := c.lines(&in, 0); end || err != nil {
		return err
	}
	limit := c.server.cfg.MaxEntry + lineSlack
	for {
		n, full, err := in.receive(c)
		from := in.hi
		in.hi += n
		if n > 0 {
			if end, herr := c.lines(&in, from); end || herr != nil {
				return herr
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return c.endOfInput(&in)
		case isDeadline(err):
			c.stop(endShutdown) // what was accepted is being acknowledged
			return nil
		default:
			return err
		}
		if err := in.makeRoom(n, full, limit, c); err != nil {
			return err
		}
		if in.calm++; in.hi > 0 || in.long || c.mixed {
			in.calm, c.mixed = 0, false
		}
	}
}

// receive waits for input and puts it into the buffer: n bytes, which have filled it
// or not.
func (in *input) receive(c *conn) (n int, full bool, err error) {
	if in.calm >= lendAfter && c.socket != nil {
		if in.roomy {
			c.server.roomy.Release(1)
			in.roomy, in.buf = false, make([]byte, inputMin)
		}
		r, lent := c.lend()
		if lent {
			in.calm = 0
		}
		if r.alone {
			in.calm = lendAfter - aloneAgain
		}
		if len(r.b) > 0 || r.err != nil {
			if len(r.b) > len(in.buf) {
				in.buf = make([]byte, len(r.b))
			}
			return copy(in.buf, r.b), false, r.err
		}
	}
	n, err = c.nc.Read(in.buf[in.hi:])
	return n, in.hi+n == len(in.buf), err
}

// endOfInput treats what came after the last newline as a line.
func (c *conn) endOfInput(in *input) error {
	c.log.Info().Str("event", "end").Send()
	if in.lo < in.hi && !in.long {
		in.buf = append(in.buf[:in.hi], '\n')
		in.hi++
		if end, err := c.lines(in, in.hi-1); end || err != nil {
			return err
		}
	}
	c.stop(endInput)
	return nil
}

// lines handles every complete line; the bytes from from on are new. end means
// that nothing more is to be read.
func (c *conn) lines(in *input, from int) (end bool, err error) {
	g := newGroup(c)
	limit := c.server.cfg.MaxEntry + lineSlack
	for !end && err == nil {
		i := bytes.IndexByte(in.buf[from:in.hi], '\n')
		if i < 0 {
			err = c.flush(g)
			break
		}
		line := in.buf[in.lo : from+i]
		from += i + 1
		in.lo = from
		if in.long {
			in.long = false // the rest of a line that has been answered
			continue
		}
		if len(line) >= limit { // it fits the buffer of a server with a small limit
			if err = c.flush(g); err == nil {
				g, err = newGroup(c), c.tooLong(line, limit)
			}
			continue
		}
		g, end, err = c.line(g, line)
	}
	c.startRead()
	return end, err
}

// flush submits the group if there are any writes in it.
func (c *conn) flush(g *group) error {
	if len(g.ends) == 0 {
		g.release()
		return nil
	}
	return c.submit(g)
}

// groupMax is how many bytes of entries one group collects: a wait for room is
// then for one group's worth.
const groupMax = 512 << 10

// line handles one line. A write joins the group g; before anything else takes
// effect, the writes before it are submitted: only a read's snapshot is taken
// before, so that what arrived with it is not yet history. It returns the group
// for the next line.
func (c *conn) line(g *group, line []byte) (next *group, end bool, err error) {
	if blank(line) {
		return g, false, nil
	}
	before := len(g.entries)
	m, entries, bad := parse(line, g.entries)
	g.entries = entries
	if bad == nil && m.kind == write {
		c.idle = false
		c.write(g, m, before)
		if len(g.entries) < groupMax {
			return g, false, nil
		}
	}
	if bad == nil && m.kind == read && c.rights.Read {
		if err := c.prepareRead(m); err != nil {
			return nil, true, err
		}
	}
	if err := c.flush(g); err != nil {
		return nil, true, err
	}
	c.mixed = c.mixed || bad != nil || m.kind != write
	switch {
	case bad != nil:
		c.server.counts.invalid.Add(1)
		c.log.Warn().Str("event", "invalid").Str("error", bad.Error()).Send()
		c.stop(endInvalid)
		return nil, true, nil
	case m.kind == write: // it has made the group full
	case m.kind == token && c.idle:
	case m.kind == stat && c.rights.Read && c.server.cfg.Stat != nil:
		err = c.stat()
	case (m.kind == stat || m.kind == read) && !c.rights.Read:
		c.server.counts.unauthorized.Add(1)
		c.log.Warn().Str("event", "unauthorized").Msg("a read without the right to it")
		err = c.fault("unauthorized: this token may not read")
	case m.kind != read:
		c.server.counts.invalid.Add(1)
		c.log.Warn().Str("event", "invalid").Str("error", "invalid message").Send()
		err = c.fault("invalid message")
	}
	c.idle = false
	if err != nil {
		return nil, true, err
	}
	return newGroup(c), false, nil
}

// stat answers with what the server knows of itself.
func (c *conn) stat() error {
	text, err := json.Marshal(c.server.cfg.Stat())
	if err != nil {
		return c.fault("stat: " + err.Error())
	}
	return c.aside(append(append([]byte(`{"stat":`), text...), "}\n"...))
}

// blank reports whether the line holds nothing but JSON's white space.
func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// write adds a write to the group, the entry of which, unless it was refused,
// lies in entries from before on.
func (c *conn) write(g *group, m message, before int) {
	size := len(g.entries) - before - 1
	switch limit := c.server.cfg.MaxEntry; {
	case !c.rights.Write:
		g.entries = g.entries[:before]
		g.add(m.id, "not stored: unauthorized: this token may not write")
	case m.refused != nil:
		g.add(m.id, "not stored: "+m.refused.Error())
	case size > limit:
		g.entries = g.entries[:before]
		g.add(m.id, fmt.Sprintf("not stored: the entry is %d bytes long, over the limit of %d", size, limit))
	default:
		g.add(m.id, "")
	}
}

// makeRoom readies the buffer for the next read: the last one brought n bytes, and
// full says that it filled the buffer. The error means that the connection was cut.
func (in *input) makeRoom(n int, full bool, limit int, c *conn) error {
	if in.long {
		in.lo, in.hi = 0, 0 // nothing of an over-long line is kept
	}
	if rest := in.hi - in.lo; in.lo > 0 {
		copy(in.buf, in.buf[in.lo:in.hi])
		in.lo, in.hi = 0, rest
	}
	if n >= inputMin/2 {
		in.quiet = 0
	} else if in.quiet++; in.quiet > inputQuiet && in.roomy {
		c.server.roomy.Release(1)
		in.roomy = false
	}
	c.place.got.Store(int64(in.hi - in.base))
	size := len(in.buf)
	switch usual := in.usual(); {
	case in.hi >= limit:
		if err := c.tooLong(in.buf[:in.hi], limit); err != nil {
			return err
		}
		in.long = true
		in.hi = 0
		size = usual
	case in.hi > size/2:
		size = min(2*size, limit) // a long line is on its way
	case full && size < inputMax && (in.roomy || c.server.roomy.TryAcquire(1)):
		in.roomy = true
		size *= 2
	case in.hi < usual/2 && size > usual:
		size = usual // it has passed
	default:
		return nil
	}
	return in.resize(size, c)
}

// usual is how large the buffer is between long lines.
func (in *input) usual() int {
	if in.roomy {
		return inputMax
	}
	return inputMin
}

// resize gives the line that is arriving a buffer of size bytes, once there is
// room for it. The error means that the connection was cut.
func (in *input) resize(size int, c *conn) error {
	if size <= longLine {
		c.leavePlace()
	} else if c.place.since.Load() == 0 {
		if err := c.takePlace(); err != nil {
			return err
		}
		in.base = in.hi
	}
	c.hold(&c.arriving, int64(max(size-in.usual(), 0)))
	buf := make([]byte, size)
	copy(buf, in.buf[:in.hi])
	in.buf = buf
	return nil
}

// end lets go of what the input holds.
func (in *input) end(c *conn) {
	if in.roomy {
		c.server.roomy.Release(1)
	}
	c.leavePlace()
	c.hold(&c.arriving, 0)
}

// tooLong answers a line that is over the limit, of which start has arrived, at
// least limit bytes. Its id is known if it came before the entry. The error means
// that the connection was cut.
func (c *conn) tooLong(start []byte, limit int) error {
	text := fmt.Sprintf("not stored: the line is over the limit of %d bytes", limit)
	c.log.Warn().Str("event", "invalid").Str("error", text).Send()
	id := leadingID(start[:limit])
	if id == nil {
		c.server.counts.invalid.Add(1)
		return c.fault(text)
	}
	g := newGroup(c)
	g.add(id, text)
	return c.submit(g)
}
