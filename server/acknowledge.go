package server

// acknowledge takes a group that the log is done with. It does not block.
func (c *conn) acknowledge(g *group) {
	mine := c.socket != nil && c.send.TryLock()
	c.mu.Lock()
	c.pending--
	if c.dead {
		g.release()
	} else {
		c.acked = append(c.acked, g)
		if mine && c.plain && c.end == endNot && len(c.acked) == 1 && len(c.unsaid)+len(c.asides) == 0 && c.prepared == nil && c.request == nil {
			c.acked = c.acked[:0]
			c.mu.Unlock()
			c.replyDirectly(g)
			return
		}
	}
	c.mu.Unlock()
	if mine {
		c.send.Unlock()
	}
	c.poke()
}

// replyDirectly sends the replies of the group, in one write that does not wait. Where
// replies are all that there is to send, it spares waking the writing side for every
// batch, which costs more than the write. What the socket does not take at once is left
// to the writing side. The caller holds send, which is given up here, and there is
// nothing that has to be sent before.
func (c *conn) replyDirectly(g *group) {
	out := g.out[:0]
	g.scratch = g.replies(g.scratch, func(line []byte, _ uint64) { out = append(out, line...) })
	g.out = out
	n, _ := c.socket.writeNow(out) // the writing side will run into an error too
	c.server.counts.sent.Add(uint64(n))
	c.mu.Lock()
	c.unsaid = append(c.unsaid, out[n:]...)
	c.unsent -= g.size()
	// Whatever came meanwhile found send taken, and left it to the writing side.
	more := len(c.unsaid)+len(c.asides)+len(c.acked) > 0 || c.request != nil || c.end != endNot
	c.mu.Unlock()
	c.send.Unlock()
	g.release()
	if more {
		c.poke()
	}
	c.makeRoom()
}
