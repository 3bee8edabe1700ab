package server

import (
	"strconv"
	"sync"
	"time"
)

// group is what one look at a connection's input gave of writes: the entries
// for one Append, and what their replies need. It belongs to the reading side
// until Append, to the log until done, and then to the writing side.
type group struct {
	entries []byte
	count   int // entries in it

	// The ids of all writes, refused ones too, one behind the other, as JSON text,
	// and where each ends.
	ids  []byte
	ends []int
	// refusals are the writes whose entry may not be stored, in order.
	refusals []refusal

	// first and err are what done was given.
	first uint64
	err   error

	out     []byte                        // room for the replies
	scratch []byte                        // and for one
	done    func(first uint64, err error) // complete, bound once
	conn    *conn
	arrived time.Time // for Config.OnAck, if that is set
	cost    int64     // bytes that it holds of the server's budget until done
}

// refusal is the reply to the write at place at among the group's writes.
type refusal struct {
	at   int
	text string
}

// groups are groups for their next use.
var groups sync.Pool

func newGroup(c *conn) *group {
	g, _ := groups.Get().(*group)
	if g == nil {
		g = new(group)
		g.done = g.complete
	}
	g.conn = c
	if c.server.cfg.OnAck != nil {
		g.arrived = time.Now()
	}
	return g
}

// keepGroup bounds what a group that waits for its next use keeps.
const keepGroup = 256 << 10

// release gives the group back for its next use.
func (g *group) release() {
	if cap(g.entries)+cap(g.ids)+cap(g.out) > keepGroup {
		return
	}
	*g = group{entries: g.entries[:0], ids: g.ids[:0], ends: g.ends[:0], refusals: g.refusals[:0], out: g.out[:0], scratch: g.scratch, done: g.done}
	groups.Put(g)
}

// add notes a write whose entry, unless refused, was just appended to entries.
func (g *group) add(id []byte, refused string) {
	g.ids = append(g.ids, id...)
	g.ends = append(g.ends, len(g.ids))
	if refused != "" {
		g.conn.server.counts.refused.Add(1)
		g.refusals = append(g.refusals, refusal{len(g.ends) - 1, refused})
		return
	}
	g.count++
}

// size is about what the group's replies take in memory.
func (g *group) size() int64 { return int64(len(g.ids) + 16*len(g.ends) + 64) }

// complete is the log's done.
func (g *group) complete(first uint64, err error) {
	g.first, g.err = first, err
	c, cost, count, arrived := g.conn, g.cost, g.count, g.arrived
	c.acknowledge(g)
	c.server.budget.Release(cost)
	switch {
	case err != nil:
		c.server.counts.unstored.Add(uint64(count))
	case count > 0 && c.server.cfg.OnAck != nil:
		c.server.cfg.OnAck(time.Since(arrived))
	}
}

// last is the greatest index in the group, 0 if it has none.
func (g *group) last() uint64 {
	if g.err != nil || g.count == 0 {
		return 0
	}
	return g.first + uint64(g.count) - 1
}

// replies calls fn with each reply in order: a line, and the index that it
// acknowledges or 0. The line is valid during the call.
func (g *group) replies(scratch []byte, fn func(line []byte, index uint64)) []byte {
	start, next, refusals := 0, g.first, g.refusals
	var failed string
	if g.err != nil {
		failed = g.err.Error()
	}
	for i, end := range g.ends {
		id := g.ids[start:end]
		start = end
		line, index := append(append(scratch[:0], `{"id":`...), id...), uint64(0)
		switch {
		case len(refusals) > 0 && refusals[0].at == i:
			line = appendError(line, refusals[0].text)
			refusals = refusals[1:]
		case g.err != nil:
			line = appendError(line, failed)
		default:
			line = append(line, `,"index":`...)
			line = append(strconv.AppendUint(line, next, 10), "}\n"...)
			index = next
			next++
		}
		fn(line, index)
		scratch = line
	}
	return scratch
}

// appendError ends a line that has members already with an error and a newline.
func appendError(line []byte, text string) []byte {
	line = append(line, `,"error":`...)
	line = appendString(line, text)
	return append(line, "}\n"...)
}

// errorLine is a line that holds an error alone.
func errorLine(text string) []byte {
	return append(appendString([]byte(`{"error":`), text), "}\n"...)
}
