package server

import "sync"

// ending is why a connection's input ended, which decides what is still sent.
type ending int

const (
	endNot      ending = iota
	endInput           // end of input: acknowledgements, and a read up to its snapshot
	endInvalid         // not JSON: acknowledgements, then the error
	endShutdown        // acknowledgements
)

// outbox is what the reader and the log leave for the writer to send.
type outbox struct {
	wake chan struct{} // holds a token when the writer has something to look at
	room chan struct{} // holds a token when unsent may have shrunk

	mu       sync.Mutex
	rest     []byte   // goes before everything else: the unsent rest of a write
	asides   []byte   // lines that answer no write and belong to no read
	acked    []*group // done, in the order of their writes
	pending  int      // groups that the log has not acknowledged
	unsent   int64    // bytes of replies and asides that are pending or not yet sent
	prepared *request // a read that is about to start; acked waits for it
	request  *request // a read that the writer has not yet taken
	replica  *replica // once the connection is a replication stream
	ask      func()   // starts to ask for what a read of a distantLog needs before it is prepared
	reading  bool     // from the parsing of a read until its last line
	end      ending
	why      error  // with endInvalid
	stopped  bool   // by Shutdown
	unwait   func() // ends the connection's awaiting context, nil while there is none
	closed   bool   // nothing more will be sent
}

// poke wakes the writer.
func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// freeRoom wakes the reader to check for room.
func (o *outbox) freeRoom() {
	select {
	case o.room <- struct{}{}:
	default:
	}
}

// sent notes that replies of n bytes have gone out.
func (o *outbox) sent(n int64) {
	o.mu.Lock()
	o.unsent -= n
	o.mu.Unlock()
	o.freeRoom()
}

// stop ends the input, once the reader has submitted all that it will submit: the writer sends
// what is still due and ends.
func (o *outbox) stop(why ending) {
	o.mu.Lock()
	if o.stopped && why == endInput {
		why = endShutdown
	}
	o.end = why
	o.mu.Unlock()
	o.poke()
}

// reject ends the input because of err, which is sent to the peer.
func (o *outbox) reject(err error) {
	o.mu.Lock()
	o.why = err
	o.mu.Unlock()
	o.stop(endInvalid)
}

// interrupt notes that the server is shutting down.
func (o *outbox) interrupt() {
	o.mu.Lock()
	o.stopped = true
	if o.unwait != nil {
		o.unwait()
	}
	if o.end == endInput {
		o.end = endShutdown
	}
	o.mu.Unlock()
	o.poke()
}

// endWaits ends any remaining waits that end with Shutdown, once the input has ended.
func (o *outbox) endWaits() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unwait != nil {
		o.unwait()
	}
}

func (o *outbox) ending() ending {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

// close marks that nothing more will be sent.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, g := range o.acked {
		g.release()
	}
	o.acked = nil
}

// prepare makes r the read that startRead will start. The caller has checked that no read is
// running. The read starts after everything that arrived with it has been acted on, so its lines
// come after the errors of those messages. Until then acknowledgements wait: those of writes that
// arrived with the read are beyond its snapshot and come after {"current":true}.
func (o *outbox) prepare(r *request) {
	o.mu.Lock()
	o.prepared = r
	o.mu.Unlock()
}

// startRead hands the prepared request, if any, to the writer, or starts to ask for what it
// needs. The reader calls it.
func (o *outbox) startRead() {
	o.mu.Lock()
	ready := o.prepared != nil
	if ready {
		o.request, o.prepared = o.prepared, nil
	}
	ask := o.ask
	o.ask = nil
	o.mu.Unlock()
	if ask != nil {
		ask()
	}
	if ready {
		o.poke()
	}
}

// acknowledge takes a group that the log has finished with. It does not block.
func (c *conn) acknowledge(g *group) {
	o := &c.outbox
	mine := c.direct != nil && c.writer.send.TryLock()
	o.mu.Lock()
	o.pending--
	if o.closed {
		g.release()
	} else {
		o.acked = append(o.acked, g)
		if mine && c.writer.repliesOnly && o.end == endNot && len(o.acked) == 1 && len(o.rest)+len(o.asides) == 0 && o.prepared == nil && o.request == nil {
			o.acked[0], o.acked = nil, o.acked[:0]
			o.mu.Unlock()
			c.replyDirectly(g)
			return
		}
	}
	o.mu.Unlock()
	if mine {
		c.writer.send.Unlock()
	}
	o.poke()
}

// replyDirectly sends the group's replies in one write that does not wait. When only replies are
// to be sent, this avoids waking the writer for every batch, which costs more than the write. The
// writer sends whatever the socket does not take at once. The caller holds send, which is
// released here, and nothing else has to be sent first.
func (c *conn) replyDirectly(g *group) {
	out := g.out[:0]
	for g.more() {
		out = g.appendReply(out)
	}
	g.out = out
	n, _ := c.tryWrite(out) // the writer will see any error too
	o := &c.outbox
	o.mu.Lock()
	o.rest = append(o.rest, out[n:]...)
	o.unsent -= g.size()
	// Whatever arrived meanwhile found send locked and was left to the writer.
	more := len(o.rest)+len(o.asides)+len(o.acked) > 0 || o.request != nil || o.end != endNot
	o.mu.Unlock()
	c.writer.send.Unlock()
	g.release()
	if more {
		o.poke()
	}
	o.freeRoom()
}
