package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"

	"tcp-log-server/server/internal/message"

	"golang.org/x/sync/semaphore"
)

// badLogged is how many bad messages of one connection are logged one by one, so that a peer
// cannot fill the log.
const badLogged = 10

// line acts on one line. A write joins the group g. Anything else first submits the writes
// before it, except that a read takes its snapshot earlier, so that what arrived with the read
// is not yet history. line returns the group for the next line.
func (r *reader) line(g *group, line []byte) (next *group, end bool, err error) {
	c := r.conn
	if blank(line) {
		return g, false, nil
	}
	if len(line) >= largeLine { // this may wait, so first submit the writes before it
		if err := c.flush(g); err != nil {
			return nil, true, err
		}
		g = newGroup(c)
	}
	before := len(g.entries)
	m, entries, bad, cut := c.server.parsing.parse(c.ctx, r.parse, line, g.entries)
	if cut != nil {
		return nil, true, cut
	}
	g.entries = entries
	if bad == nil && (c.replica != nil || m.Kind == message.Replicate) {
		if end, err = r.stream(&m), c.flush(g); err != nil {
			return nil, true, err
		}
		return newGroup(c), end, nil
	}
	if bad == nil && m.Kind == message.Token && r.greeted {
		m.Kind, m.Fault = message.Invalid, "invalid message: a token is accepted only as the first message"
	}
	if bad == nil && m.Kind == message.Durable {
		m.Kind, m.Fault = message.Invalid, `invalid message: "durable" is accepted only after "replicate"`
	}
	r.begun = r.begun || bad == nil && m.Kind != message.Token
	if bad == nil && (m.Kind == message.Write || m.Kind == message.Invalid) {
		r.greeted = true
		if m.Kind == message.Write {
			r.other = r.other || !m.Terms.Plain()
			if g, err = c.addWrite(g, &m, before); err != nil {
				return nil, true, err
			}
		} else {
			r.refuse(g, m.ID, m.Fault)
		}
		if !g.full() {
			return g, false, nil
		}
	}
	if bad == nil && m.Kind == message.Read && c.rights.Read {
		if err := r.prepareRead(m); err != nil {
			return nil, true, err
		}
	}
	if err := c.flush(g); err != nil {
		return nil, true, err
	}
	if bad != nil {
		c.server.counts.invalid.Add(1)
		r.logInvalid(message.Locate(bad, line, 0).Error())
		c.outbox.reject(bad)
		return nil, true, nil
	}
	r.other, r.greeted = r.other || m.Kind != message.Write, true
	switch {
	case (m.Kind == message.Read || m.Kind == message.Digest) && !c.rights.Read:
		c.server.counts.unauthorized.Add(1)
		if r.mayLog() {
			c.log.Warn().Str("event", "unauthorized").Msg("a read without the right to it")
		}
		err = c.fault(m.ID, "unauthorized: this token may not read")
	case m.Kind == message.Digest:
		err = r.digest(m.Copy)
	case m.Kind == message.Stat:
		err = r.stat()
	}
	if err != nil {
		return nil, true, err
	}
	return newGroup(c), false, nil
}

// refuse answers a message that is not a write, or not an acceptable one, after the writes
// before it.
func (r *reader) refuse(g *group, id []byte, text string) {
	g.refuse(id, text, Unacceptable)
	r.other = true
	r.conn.server.counts.invalid.Add(1)
	r.logInvalid(text)
}

// tooLong answers a line that is over the limit; start is the part that has arrived, at least as
// long as the limit. The id is known if it came before the entry. The error says why the
// connection was cut.
func (r *reader) tooLong(start []byte) error {
	c := r.conn
	limit := c.server.cfg.MaxEntry + lineSlack
	g := newGroup(c)
	if r.entries {
		g.refuse(nil, fmt.Sprintf("not stored: the input is over the limit of %d bytes", limit), TooLarge)
		c.server.counts.refused.Add(1)
	} else {
		r.refuse(g, message.LeadingID(start[:limit]), fmt.Sprintf("not stored: the line is over the limit of %d bytes", limit))
	}
	return c.submit(g)
}

// mayLog reports whether one more bad message of this connection may be logged. Those that may
// not are counted, for the log line about the close.
func (r *reader) mayLog() bool {
	if r.logged == badLogged {
		r.unlogged++
		return false
	}
	r.logged++
	return true
}

// logInvalid logs an invalid line from the peer.
func (r *reader) logInvalid(text string) {
	if r.mayLog() {
		r.conn.log.Warn().Str("event", "invalid").Str("error", text).Msg("message refused")
	}
}

// stat answers with the server's status. A peer that may only write is told only what it needs
// for writing.
func (r *reader) stat() error {
	var status any
	if stat := r.conn.server.cfg.Stat; !r.conn.rights.Read {
		status = struct {
			Rights string `json:"rights"`
			Capabilities
		}{"write", r.conn.server.Capabilities()}
	} else if stat != nil {
		status = stat()
	} else {
		head, err := r.conn.server.nearHead(r.conn.ctx)
		if err != nil {
			return err
		}
		status = struct {
			Head uint64 `json:"head"`
			Capabilities
		}{head, r.conn.server.Capabilities()}
	}
	text, err := json.Marshal(status)
	if err != nil {
		return r.conn.fault(nil, "stat: "+r.conn.server.failures.forPeer(err).Error())
	}
	return r.conn.aside(append(append([]byte(`{"stat":`), text...), "}\n"...))
}

// prepareRead prepares a read with the current head as its snapshot, unless one is already
// running. If the log has to ask other machines for the head, the snapshot may be later.
func (r *reader) prepareRead(m message.Message) error {
	c := r.conn
	c.outbox.mu.Lock()
	busy := c.outbox.reading
	c.outbox.reading = true
	c.outbox.mu.Unlock()
	if busy {
		return c.fault(m.ID, "already reading")
	}
	if c.server.known != nil {
		return c.prepareAsking(m)
	}
	head, err := c.server.log.Head(c.ctx)
	if err != nil {
		return err
	}
	first, err := firstIndex(c.ctx, c.server, m.Query, head)
	if err != nil {
		return c.readError(err)
	}
	c.holdFilter(m.Query.Where)
	c.outbox.prepare(newRequest(m.Query, first, head))
	return nil
}

// blank reports whether the line holds only JSON white space.
func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// addWrite adds a write to the group, or to a new one if g had to be submitted, and returns that
// group. Unless they were refused, the write's entries are those of g from before on. The error
// says why the connection was cut.
func (c *conn) addWrite(g *group, m *message.Message, before int) (*group, error) {
	size, count, why, outcome := len(g.entries)-before, 0, "", TooLarge
	if m.Terms != nil {
		count = m.Terms.Count
	}
	switch limit := c.server.cfg.MaxEntry; {
	case !c.rights.Write:
		why, outcome = "unauthorized: this token may not write", Forbidden
	case m.Refused != nil:
		why, outcome = m.Refused.Error(), Unacceptable
	case count > 0 && size > c.server.maxBatch:
		why = fmt.Sprintf("the entries are %d bytes long together, over the limit of %d", size, c.server.maxBatch)
	case count > maxHashes && m.Terms.Receipt:
		why = fmt.Sprintf("there are %d entries, over the limit of %d with a receipt", count, maxHashes)
	case count == 0 && size-1 > limit:
		why = fmt.Sprintf("the entry is %d bytes long, over the limit of %d", size-1, limit)
	case g.takes(m) && len(g.entries) <= c.server.maxAppend:
		g.addWrite(m, before)
		return g, nil
	default:
		next := newGroup(c)
		next.entries = append(next.entries, g.entries[before:]...)
		g.entries = g.entries[:before]
		next.addWrite(m, 0)
		return next, c.submit(g)
	}
	g.entries = g.entries[:before]
	g.refuse(m.ID, "not stored: "+why, outcome)
	c.server.counts.refused.Add(1)
	return g, nil
}

// maxHashes bounds the hashes in one receipt: an entry of three bytes causes 67 bytes of reply.
const maxHashes = 16 << 10

// takeWrites submits what a gatherer has read if it consists of whole lines, all of them plain
// writes with acceptable entries, that fit into one append, and if there is room for them.
// Otherwise the reader handles it.
func (c *conn) takeWrites(b []byte, full bool) bool {
	c.server.counts.received.Add(uint64(len(b)))
	if full || b[len(b)-1] != '\n' || !c.rights.Write {
		return false
	}
	limit := c.server.cfg.MaxEntry
	g := newGroup(c)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		line := b[:i]
		b = b[i+1:]
		if blank(line) {
			continue
		}
		before := len(g.entries)
		m, entries, err := message.Parse(line, g.entries)
		g.entries = entries
		if err != nil || m.Kind != message.Write || !m.Terms.Plain() || m.Refused != nil || len(entries)-before-1 > limit || len(line) >= limit+lineSlack {
			g.release()
			return false
		}
		g.add(m.ID)
	}
	if len(g.ends) == 0 || len(g.entries) <= c.server.maxAppend && c.trySubmit(g) {
		return true
	}
	g.release()
	return false
}

const (
	// largeLine is the length in bytes from which a line waits for its turn to be parsed: the
	// worst lines of that length take 3 ms.
	largeLine = 64 << 10
	// scratchMax bounds the memory of all turns under way, in bytes. A single turn may exceed
	// it.
	scratchMax = 128 << 20
	// memberScratch is roughly the memory needed to sort one member, in bytes.
	memberScratch = 128
)

// parseTurns makes large lines take turns to be parsed. A line of 16 MiB can occupy a processor
// for a second, and sorting its members can take fifteen times its length. So at most half of
// the processors parse such lines at once, within bounded memory that counts toward
// Config.MaxHeld. Short lines do not wait.
type parseTurns struct {
	memory  *budget
	scratch *semaphore.Weighted
	least   int64 // the least scratch that a turn takes, so that turns are few
}

func newParseTurns(memory *budget) *parseTurns {
	return &parseTurns{memory, semaphore.NewWeighted(scratchMax), scratchMax / int64(max(1, runtime.GOMAXPROCS(0)/2))}
}

// parser parses a line, as message.Parse does.
type parser func(line, entries []byte) (m message.Message, out []byte, err error)

// parse parses a line of any length. The error cut says why the connection was cut while the
// line was waiting.
func (t *parseTurns) parse(ctx context.Context, parse parser, line, entries []byte) (m message.Message, out []byte, bad, cut error) {
	if len(line) < largeLine {
		m, out, bad = parse(line, entries)
		return m, out, bad, nil
	}
	need := int64(bytes.Count(line, []byte{':'})) * memberScratch
	taken := max(min(need, scratchMax), t.least)
	if t.scratch.Acquire(ctx, taken) != nil {
		return m, entries, nil, context.Cause(ctx)
	}
	t.memory.count(need)
	defer func() {
		t.memory.count(-need)
		t.scratch.Release(taken)
	}()
	m, out, bad = parse(line, entries)
	return m, out, bad, nil
}
