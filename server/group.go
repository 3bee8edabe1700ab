package server

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"context"
	"strings"

	"tcp-log-server/appends"
	"tcp-log-server/server/internal/message"
)

// group is the writes that arrived together on a connection: their entries, for one Append,
// and what their replies need. The reader owns it until Append, the log until done, and then
// the writer.
//
// Writes with a condition are grouped by kind: those with "once" only with each other, one
// with "if" alone. A write of "entries" is also alone in its group.
type group struct {
	entries []byte
	count   int // entries in it
	on      appends.Condition
	alone   bool  // takes no other write
	batch   bool  // the write is one of "entries"
	denied  error // why the log was not asked to store them

	// The ids of all writes, including refused ones, concatenated as JSON text, and where each
	// ends. An invalid message counts as a write, without an id if it has none.
	// none.
	ids  []byte
	ends []int
	// refusals are the refused writes, in order; refused is roughly how much memory they take.
	refusals []refusal
	refused  int64
	// receipts are the places of the writes that get a receipt, in order; hashes are the
	// hashes of their entries.
	receipts []int
	hashes   []byte

	// stored and err are the arguments of done; last is the greatest index, 0 if there is
	// none.
	stored appends.Result
	err    error
	last   uint64

	// How many of the replies have been appended, see appendReply.
	replied, repliedID, repliedRefusals, repliedReceipts int

	out     []byte                      // room for the replies
	done    func(appends.Result, error) // complete, bound once
	conn    *conn
	arrived time.Time // for Config.OnAck, if that is set
	cost    int64     // bytes of Config.MaxInFlight that it holds until done
}

// refusal is the reply to the write with index at among the group's writes.
type refusal struct {
	at      int
	text    string
	outcome Outcome
}

// groups holds groups for reuse.
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

// keepGroup bounds the memory of a group that is kept for reuse.
const keepGroup = 256 << 10

// release returns the group for reuse.
func (g *group) release() {
	if cap(g.entries)+cap(g.ids)+cap(g.hashes)+cap(g.out) > keepGroup {
		return
	}
	clear(g.refusals)
	*g = group{
		entries: g.entries[:0], ids: g.ids[:0], ends: g.ends[:0], refusals: g.refusals[:0],
		receipts: g.receipts[:0], hashes: g.hashes[:0], out: g.out[:0], done: g.done,
	}
	groups.Put(g)
}

// add notes a write whose entry was just appended to entries.
func (g *group) add(id []byte) {
	g.ids = append(g.ids, id...)
	g.ends = append(g.ends, len(g.ids))
	g.count++
}

// takes reports whether the write m, which is acceptable, may join the group.
func (g *group) takes(m *message.Message) bool {
	return g.count == 0 || !g.alone && !m.Terms.Alone() && g.on == m.Terms.Condition()
}

// addWrite notes any write that the group takes, whose entries, from before on, were just
// appended to entries.
func (g *group) addWrite(m *message.Message, before int) {
	g.add(m.ID)
	t := m.Terms
	if t == nil {
		return
	}
	if g.on, g.alone = t.Condition(), t.Alone(); t.Count > 0 {
		g.batch, g.count = true, t.Count
	}
	if t.Receipt {
		g.receipts = append(g.receipts, len(g.ends)-1)
		for entries := g.entries[before:]; len(entries) > 0; {
			var line []byte
			line, entries = cutLine(entries)
			hash := blake3.Sum256(line[:len(line)-1])
			g.hashes = append(g.hashes, hash[:]...)
		}
	}
}

// refuse notes a write that is refused, and why, or an invalid message.
func (g *group) refuse(id []byte, why string, outcome Outcome) {
	g.ids = append(g.ids, id...)
	g.ends = append(g.ends, len(g.ids))
	g.refusals = append(g.refusals, refusal{len(g.ends) - 1, why, outcome})
	g.refused += int64(len(why)) + 64
}

// refusedMax bounds the refusals that one group collects, in bytes: a message of one byte can
// cause a hundred.
const refusedMax = 16 << 10

// full reports whether the group must be submitted before it grows further.
func (g *group) full() bool {
	return g.alone || len(g.entries)+len(g.hashes) >= groupMax || g.refused >= refusedMax
}

// size is roughly how much memory the group's replies take.
func (g *group) size() int64 {
	n := len(g.ids) + 16*len(g.ends) + 64 + 8*len(g.receipts) + len(g.hashes)
	if g.on.Kind == appends.Once {
		n += placeSize * len(g.ends)
	}
	return int64(n) + g.refused
}

// placeSize is the size of an appends.Place in bytes.
const placeSize = 24

// deny refuses all writes of the group with err; the log gets none of their entries.
func (g *group) deny(err error) {
	g.conn.server.counts.unstored.Add(uint64(g.count))
	g.entries, g.count, g.denied = g.entries[:0], 0, err
}

// complete is the log's done.
func (g *group) complete(stored appends.Result, err error) {
	if g.denied != nil {
		err = g.denied
	}
	c, cost, count, arrived := g.conn, g.cost, g.count, g.arrived
	_, unmet := errors.AsType[*appends.ConditionError](err)
	unstored := count
	if g.stored = stored; g.on.Kind == appends.Once {
		for _, p := range stored.Once {
			if p.Index > 0 {
				g.last = max(g.last, p.Index)
				unstored--
			}
		}
	} else if err == nil && count > 0 {
		g.last = stored.First + uint64(count) - 1
	}
	if cap(g.entries) > keepGroup {
		g.entries = nil // sending the replies may take as long as the peer likes
	}
	g.err = c.server.failures.forPeer(err)
	if err != nil && !unmet {
		c.server.counts.unstored.Add(uint64(unstored)) // before the peer has its replies
	}
	c.acknowledge(g) // which gives g away
	c.server.inFlight.Release(cost)
	if err == nil && count > 0 && c.server.cfg.OnAck != nil {
		c.server.cfg.OnAck(time.Since(arrived))
	}
}

// more reports whether there are replies that have not been appended.
func (g *group) more() bool { return g.replied < len(g.ends) }

// refuses reports whether the next reply is a refusal.
func (g *group) refuses() bool {
	return g.repliedRefusals < len(g.refusals) && g.refusals[g.repliedRefusals].at == g.replied
}

// next returns where the entries of the next write lie, which its reply acknowledges; the
// index is 0 if the reply is an error.
func (g *group) next() (at appends.Place) {
	if g.refuses() {
		return at
	}
	n := g.replied - g.repliedRefusals
	switch {
	case g.on.Kind == appends.Once && n < len(g.stored.Once):
		return g.stored.Once[n]
	case g.err == nil:
		return appends.Place{Index: g.stored.First + uint64(n), Time: g.stored.Time}
	}
	return at
}

// appendReply appends the next reply. The replies come in the order of the writes.
func (g *group) appendReply(dst []byte) []byte {
	id := g.ids[g.repliedID:g.ends[g.replied]]
	switch at := g.next(); {
	case g.refuses():
		dst = appendFault(dst, id, g.refusals[g.repliedRefusals].text)
		g.repliedRefusals++
	case at.Index == 0:
		dst = g.appendError(dst, id)
	default:
		dst = append(dst, '{')
		if len(id) > 0 {
			dst = append(append(dst, `"id":`...), id...)
			dst = append(dst, ',')
		}
		dst = append(dst, `"index":`...)
		dst = strconv.AppendUint(dst, at.Index, 10)
		if g.batch {
			dst = append(dst, `,"count":`...)
			dst = strconv.AppendInt(dst, int64(g.count), 10)
		}
		if at.Seen {
			dst = append(dst, `,"seen":true`...)
		}
		if len(g.receipts) > 0 {
			dst = g.appendReceipt(dst, at.Time)
		}
		dst = append(dst, "}\n"...)
	}
	g.repliedID = g.ends[g.replied]
	g.replied++
	return dst
}

// appendError appends the reply to a write that the log did not store.
func (g *group) appendError(dst, id []byte) []byte {
	dst = appendFault(dst, id, g.err.Error())
	if unmet, ok := errors.AsType[*appends.ConditionError](g.err); ok {
		dst = append(dst[:len(dst)-len("}\n")], `,"head":`...)
		dst = append(strconv.AppendUint(dst, unmet.Head, 10), "}\n"...)
	}
	return dst
}

// hashSize is the size of a hash in bytes.
const hashSize = 32

// appendReceipt appends the receipt of the next write, if it gets one; its entries were stored
// at time at.
func (g *group) appendReceipt(dst []byte, at int64) []byte {
	for g.repliedReceipts < len(g.receipts) && g.receipts[g.repliedReceipts] < g.replied {
		g.repliedReceipts++ // skip that of a write that was not stored
	}
	if g.repliedReceipts == len(g.receipts) || g.receipts[g.repliedReceipts] > g.replied {
		return dst
	}
	hashes := g.hashes[hashSize*g.repliedReceipts:]
	g.repliedReceipts++
	if g.batch {
		dst = append(dst, `,"hashes":[`...)
		for i := 0; i < len(hashes); i += hashSize {
			dst = appendHash(dst, hashes[i:i+hashSize])
			dst = append(dst, ',')
		}
		dst[len(dst)-1] = ']'
	} else {
		dst = appendHash(append(dst, `,"hash":`...), hashes[:hashSize])
	}
	return appendTime(append(dst, `,"time":`...), at)
}

// submit gives the group's entries to the log once there is room for them and for their
// replies. The error says why the connection was cut meanwhile.
func (c *conn) submit(g *group) error {
	if g.on.Kind == appends.Once {
		if err := c.awaitOnce(); err != nil {
			if c.ctx.Err() != nil {
				return context.Cause(c.ctx)
			}
			g.deny(err)
		}
	}
	if err := c.lockWithRoom(); err != nil {
		return err
	}
	o := &c.outbox
	o.pending++
	o.unsent += g.size()
	o.mu.Unlock()
	g.cost = int64(len(g.entries) + len(g.hashes))
	if g.on.Kind == appends.Once { // the log hashes each entry and finds its place
		g.cost += int64(g.count) * (hashSize + placeSize)
	}
	g.cost = min(g.cost, c.server.cfg.MaxInFlight)
	if err := c.server.inFlight.Acquire(c.ctx, g.cost); err != nil {
		o.mu.Lock()
		o.pending--
		o.mu.Unlock()
		return context.Cause(c.ctx)
	}
	c.server.throttle.appended()
	if c.reader.more { // the rest should be in the same batch
		c.server.log.Submit(g.entries, g.count, g.on, g.done)
	} else {
		c.server.log.Append(g.entries, g.count, g.on, g.done)
	}
	return nil
}

// trySubmit is submit if there is room; otherwise ok is false. It never waits.
func (c *conn) trySubmit(g *group) (ok bool) {
	g.cost = min(int64(len(g.entries)), c.server.cfg.MaxInFlight)
	if !c.server.inFlight.TryAcquire(g.cost) {
		return false
	}
	o := &c.outbox
	o.mu.Lock()
	if ok = o.unsent < c.server.unsentMax(); ok {
		o.pending++
		o.unsent += g.size()
	}
	o.mu.Unlock()
	if !ok {
		c.server.inFlight.Release(g.cost)
		return false
	}
	c.server.throttle.appended()
	c.server.log.Submit(g.entries, g.count, g.on, g.done)
	return true
}

// lockWithRoom locks the outbox's mu once there is room for more replies. On error, which says
// why the connection was cut meanwhile, mu is not locked.
func (c *conn) lockWithRoom() error {
	o := &c.outbox
	for {
		o.mu.Lock()
		if o.unsent < c.server.unsentMax() {
			return nil
		}
		o.mu.Unlock()
		o.startRead() // otherwise it could wait for room, and the room for it
		select {
		case <-o.room:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// errStopping: a write would have to wait for the log, but the server is shutting down.
var errStopping = errors.New("not stored: the server is shutting down")

// outcome returns the outcome of the next write to be replied to.
func (g *group) outcome() Outcome {
	_, unmet := errors.AsType[*appends.ConditionError](g.err)
	switch {
	case g.refuses():
		return g.refusals[g.repliedRefusals].outcome
	case g.next().Index > 0:
		return Stored
	case unmet:
		return Unmet
	case strings.HasPrefix(g.err.Error(), "not stored: "):
		return Unstored
	}
	return Unknown
}
