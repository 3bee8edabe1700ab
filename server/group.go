package server

import (
	"strconv"
	"sync"
	"time"

	"tcp-log-server/appends"
)

// group is the writes that arrived together on a connection: their entries, for one
// Append, and what their replies need. It belongs to the reader until Append, to the log
// until done, and then to the writer.
type group struct {
	entries []byte
	count   int // entries in it
	on      appends.Condition

	// The ids of all writes, including refused ones, one after the other, as JSON text,
	// and where each ends. An invalid message counts as a write, without an id if it has
	// none.
	ids  []byte
	ends []int
	// refusals are the writes that are refused, in order, and refused about how much memory
	// they take.
	refusals []refusal
	refused  int64

	// first and err are what done was given.
	first uint64
	err   error

	// How far the replies have been appended, see appendReply.
	replied, repliedID, repliedRefusals int

	out     []byte                      // room for the replies
	done    func(appends.Result, error) // complete, bound once
	conn    *conn
	arrived time.Time // for Config.OnAck, if that is set
	cost    int64     // bytes of Config.MaxInFlight that it holds until done
}

// refusal is the reply to the write at place at among the group's writes.
type refusal struct {
	at   int
	text string
}

// groups are groups to be used again.
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

// keepGroup bounds the memory of a group that is kept to be used again.
const keepGroup = 256 << 10

// release gives the group back to be used again.
func (g *group) release() {
	if cap(g.entries)+cap(g.ids)+cap(g.out) > keepGroup {
		return
	}
	clear(g.refusals)
	*g = group{entries: g.entries[:0], ids: g.ids[:0], ends: g.ends[:0], refusals: g.refusals[:0], out: g.out[:0], done: g.done}
	groups.Put(g)
}

// add notes a write whose entry was just appended to entries.
func (g *group) add(id []byte) {
	g.ids = append(g.ids, id...)
	g.ends = append(g.ends, len(g.ids))
	g.count++
}

// refuse notes a write that is refused, and why, or an invalid message.
func (g *group) refuse(id []byte, why string) {
	g.ids = append(g.ids, id...)
	g.ends = append(g.ends, len(g.ids))
	g.refusals = append(g.refusals, refusal{len(g.ends) - 1, why})
	g.refused += int64(len(why)) + 64
}

// refusedMax is how many bytes of refusals one group collects: a message of one byte can cause
// a hundred.
const refusedMax = 16 << 10

// full reports whether the group is to be submitted before it grows further.
func (g *group) full() bool { return len(g.entries) >= groupMax || g.refused >= refusedMax }

// size is about how much memory the group's replies take.
func (g *group) size() int64 { return int64(len(g.ids)+16*len(g.ends)+64) + g.refused }

// complete is the log's done.
func (g *group) complete(stored appends.Result, err error) {
	g.first, g.err = stored.First, g.conn.server.failures.forPeer(err)
	c, cost, count, arrived := g.conn, g.cost, g.count, g.arrived
	c.acknowledge(g)
	c.server.inFlight.Release(cost)
	switch {
	case err != nil:
		c.server.counts.unstored.Add(uint64(count))
	case count > 0 && c.server.cfg.OnAck != nil:
		c.server.cfg.OnAck(time.Since(arrived))
	}
}

// last returns the greatest index in the group, 0 if it has none.
func (g *group) last() uint64 {
	if g.err != nil || g.count == 0 {
		return 0
	}
	return g.first + uint64(g.count) - 1
}

// more reports whether there are replies that have not been appended.
func (g *group) more() bool { return g.replied < len(g.ends) }

// refuses reports whether the next reply is a refusal.
func (g *group) refuses() bool {
	return g.repliedRefusals < len(g.refusals) && g.refusals[g.repliedRefusals].at == g.replied
}

// nextIndex returns the index that the next reply acknowledges, 0 if it is an error.
func (g *group) nextIndex() uint64 {
	if g.err != nil || g.refuses() {
		return 0
	}
	return g.first + uint64(g.replied-g.repliedRefusals)
}

// appendReply appends the next reply. The replies come in the order of the writes.
func (g *group) appendReply(dst []byte) []byte {
	id := g.ids[g.repliedID:g.ends[g.replied]]
	switch index := g.nextIndex(); {
	case g.refuses():
		dst = appendFault(dst, id, g.refusals[g.repliedRefusals].text)
		g.repliedRefusals++
	case g.err != nil:
		dst = appendFault(dst, id, g.err.Error())
	default:
		dst = append(append(dst, `{"id":`...), id...)
		dst = append(dst, `,"index":`...)
		dst = append(strconv.AppendUint(dst, index, 10), "}\n"...)
	}
	g.repliedID = g.ends[g.replied]
	g.replied++
	return dst
}
