package server

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"tcp-log-server/appends"
)

const (
	// copyMax is how many bytes of entries are copied to be sent together with others. Longer
	// runs are sent from the log's own memory.
	copyMax = 32 << 10
	// headEvery is how often a replica is told the head, so that it knows how far behind it is
	// and that the source is alive.
	headEvery = time.Second
)

// silentMax is how long a replica may be silent. Tests change it.
var silentMax = time.Minute

// errSilent: a replica has not reported its progress for silentMax.
var errSilent = errors.New("the replica has been silent for too long")

// ship sends the replica what it does not have.
func (w *writer) ship() error {
	p, s := w.replica, w.conn.server
	for !p.over {
		head, moved := s.local()
		w.moved = moved
		if !w.shipping(head) {
			return nil
		}
		if time.Since(p.since)-time.Duration(p.heard.Load()) > silentMax {
			return errSilent
		}
		if p.next > head {
			w.tellHead(head)
			return nil
		}
		// An epoch exists before its first entry, and the replica must know the epoch before it
		// has that entry: so it has to ask again.
		if epochs := s.log.(copiedLog).Epochs(); epochs[len(epochs)-1].Number != p.epoch {
			w.breakOff(appendFault(nil, nil, "a new epoch has begun"))
			return nil
		}
		if err := w.shipThrough(head); err != nil {
			return err
		}
	}
	return nil
}

// shipping reports whether the stream goes on. When the server stops, a replica near the head
// still gets the rest, so that it can take over.
func (w *writer) shipping(head uint64) bool {
	return w.ending == endNot || w.ending == endShutdown && head-min(head, w.replica.next) < catchUp
}

// breakOff sends a last line and ends the stream.
func (w *writer) breakOff(line []byte) {
	w.out = append(w.out, line...)
	w.replica.over = true
	w.conn.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends too
}

// tellHead tells the replica the head, if that is due.
func (w *writer) tellHead(head uint64) {
	p := w.replica
	if now := time.Now(); now.Sub(p.toldAt) >= headEvery {
		p.toldAt = now
		w.out = strconv.AppendUint(append(w.out, `{"head":`...), head, 10)
		w.out = append(w.out, "}\n"...)
	}
}

// shipThrough sends the entries from the cursor through last.
func (w *writer) shipThrough(last uint64) error {
	c, p := w.conn, w.replica
	turn := shipTurn{replayTurn{replayThrottle: c.server.throttle}, last-p.next >= catchUp}
	if err := turn.begin(w); err != nil {
		return err
	}
	defer turn.end()
	var stop error
	err := c.server.log.Read(c.ctx, p.next, last, func(first uint64, count int, entries []byte, at int64, err error) error {
		w.grow()
		lost, ok := errors.AsType[interface {
			error
			Lost() bool
		}](err)
		switch isLost := ok && lost.Lost(); {
		case err == nil || isLost:
			if at != 0 {
				stop = w.shipRun(&turn, first, count, entries, at, isLost)
				return stop
			}
			err = errors.New("its time is not known; run fsck --repair on the source")
		default:
			c.server.counts.damaged.Add(uint64(count))
		}
		err = c.server.failures.forPeer(err)
		w.breakOff(appendError(fmt.Appendf(nil, `{"index":%d`, first), err.Error()))
		stop = errStopped
		return stop
	})
	switch {
	case errors.Is(stop, errStopped):
		return nil
	case err != nil && stop == nil:
		return c.readError(err)
	}
	return err
}

// shipRun gathers a run of entries, and sends what has been gathered if it is worth a write.
func (w *writer) shipRun(turn *shipTurn, first uint64, count int, entries []byte, at int64, lost bool) error {
	p := w.replica
	w.out = appendBatch(w.out, first, count, entries, at, lost)
	p.next = first + uint64(count)
	p.sent.Store(p.next - 1) // before the replica can have any of it
	kept := keeps(entries)
	if len(entries) > copyMax {
		if err := turn.push(w, w.out, kept); err != nil {
			return err
		}
		w.out = w.out[:0]
		if err := turn.push(w, entries, kept); err != nil {
			return err
		}
	} else if w.out = append(w.out, entries...); len(w.out) >= flushAt {
		if err := turn.push(w, w.out, cap(w.out)+kept); err != nil {
			return err
		}
		w.out = w.out[:0]
	} else {
		return nil
	}
	w.collect()
	head, _ := w.conn.server.local()
	if !w.shipping(head) {
		return errStopped
	}
	w.tellHead(head)
	return nil
}

// shipTurn is a replication stream's place in the throttle. Near the head it takes no turns:
// writers may be waiting for the replica.
type shipTurn struct {
	replayTurn
	behind bool
}

// begin waits for a turn. The error says why the connection was cut.
func (t *shipTurn) begin(w *writer) error {
	near, next := w.conn.server.near, w.replica.next
	if t.behind && t.readsFrom(near, next) == t.reads {
		if err := t.start(w.conn.ctx); err != nil {
			return err
		}
	}
	return t.startReading(w.conn.ctx, near, next)
}

// push sends b. The turn ends before it waits for the peer, during which the log keeps kept
// bytes; it returns with the next turn.
func (t *shipTurn) push(w *writer, b []byte, kept int) error {
	n, err := w.conn.tryWrite(b)
	if err != nil || n == len(b) && !t.behind {
		return err
	}
	t.end()
	if n < len(b) {
		if err := w.write(b[n:], kept); err != nil {
			return err
		}
	}
	return t.begin(w)
}

// appendBatch appends the line that announces a run of entries:
//
//	{"batch":{"index":N,"count":C,"time":"…","size":B,"sum":"…"}}
func appendBatch(dst []byte, first uint64, count int, entries []byte, at int64, lost bool) []byte {
	dst = strconv.AppendUint(append(dst, `{"batch":{"index":`...), first, 10)
	dst = strconv.AppendInt(append(dst, `,"count":`...), int64(count), 10)
	dst = appendTime(append(dst, `,"time":`...), at)
	dst = strconv.AppendInt(append(dst, `,"size":`...), int64(len(entries)), 10)
	sum := appends.BatchSum(first, count, at, entries)
	dst = appendHash(append(dst, `,"sum":`...), []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	if lost {
		dst = append(dst, `,"lost":true`...)
	}
	return append(dst, "}}\n"...)
}
