package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/internal/nowait"
)

// call is one append that is under way.
type call struct {
	id    uint64
	cost  int64 // bytes of MaxInFlight that it holds
	done  func(index uint64, err error)
	waits bool // done wakes a goroutine that waits for it
}

// lane is the connection that carries appends. One goroutine writes what has gathered, as
// one write; another reads the answers, which come in the order of the writes. An append
// only adds a line to out, with two exceptions: an append that is alone writes and reads by
// itself (lead.go), and goroutines that have just been answered write for each other
// (gather.go).
type lane struct {
	client *Client
	nc     net.Conn
	source io.Reader    // of nc; belongs to whose turn it is
	direct *nowait.Conn // of nc, for calls that do not wait; nil where no append can lead. Used like source for reads, and while busy for writes
	ended  atomic.Bool  // takes no more appends; set with cause

	wake   chan struct{} // wakes the writing goroutine
	recall chan struct{} // gives the reading goroutine its turn
	over   chan struct{} // closed once the lane has ended
	done   chan struct{} // closed once every call has been completed, and nothing runs

	in inbox

	mu     sync.Mutex
	out    []byte // the lines of calls[taken:], in order
	spare  []byte // for out, once that is taken
	calls  []call // in the order of their ids; those below first have been answered
	first  int
	taken  int    // calls below it have been taken to be written
	next   uint64 // id of the next call
	rest   []byte // what a write that did not wait has left to the writing goroutine
	busy   bool   // the writing goroutine is awake, or another goroutine writes or will
	gather gather
	turn   turn  // whose turn it is to read
	lone   int   // how many answers in a row have come one at a time, with nothing else under way
	cause  error // why the lane has ended

	deadline time.Time // of reading, except while a leader is being interrupted
	kicked   bool      // the read deadline is set in order to interrupt a leader
}

// newLane starts a lane on nc. The caller keeps client.running above 0, or knows that
// nothing waits for it yet.
func (c *Client) newLane(nc net.Conn) *lane {
	l := &lane{client: c, nc: nc, source: nc, direct: nowait.NewConn(nc), in: inbox{buf: make([]byte, replyBuffer)},
		wake: make(chan struct{}, 1), recall: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{})}
	if l.direct != nil {
		l.source = l.direct
	}
	written := make(chan struct{})
	c.running.Go(func() {
		defer close(written)
		l.write()
	})
	c.running.Go(func() {
		defer close(l.done)
		err := l.read()
		l.end(err)
		<-written
		l.nc.Close()
		l.settle(err)
	})
	return l
}

// add queues an append; ok is false once the lane has ended. If writes is true, the caller
// must have the queue written.
func (l *lane) add(entry []byte, c call, leads bool) (id uint64, writes, ok bool) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return 0, false, false
	}
	c.id = l.next
	l.next++
	l.calls = append(l.calls, c)
	l.out = append(l.out, `{"id":"`...)
	l.out = strconv.AppendUint(l.out, c.id, 10)
	l.out = append(l.out, `","entry":`...)
	l.out = append(l.out, entry...)
	l.out = append(l.out, "}\n"...)
	idle, recall := !l.busy, l.turn == vacant
	l.busy = true
	writes = idle && leads
	if l.gather.on && l.gather.ends(c.waits) {
		writes = true
	}
	if recall {
		l.turn = readersTurn
	}
	l.mu.Unlock()
	if recall {
		l.recall <- struct{}{} // never blocks: it is received once for each turn
	}
	if idle && !leads {
		l.wake <- struct{}{} // has room: busy says that nobody else has sent
	}
	return c.id, writes, true
}

// withdraw takes a call out of the queue, unless it has been taken to be written.
func (l *lane) withdraw(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := 0
	for i, c := range l.calls[l.taken:] {
		end := at + bytes.IndexByte(l.out[at:], '\n') + 1
		if c.id == id {
			l.out = append(l.out[:at], l.out[end:]...)
			l.calls = append(l.calls[:l.taken+i], l.calls[l.taken+i+1:]...)
			l.client.room.Release(c.cost)
			return true
		}
		at = end
	}
	return false
}

// take takes what has gathered, to be written. If there is nothing, the lane is no longer
// busy. The caller holds mu.
func (l *lane) take() []byte {
	out := l.out
	if len(out) == 0 || l.cause != nil {
		l.busy = false
		return nil
	}
	l.out, l.spare = l.spare[:0], nil
	l.taken = len(l.calls)
	return out
}

// keep keeps the memory of what has been written. The caller holds mu.
func (l *lane) keep(out []byte) {
	const most = 1 << 20
	if cap(out) <= most {
		l.spare = out[:0]
	}
}

// write is the writing goroutine. It ends when the lane has.
func (l *lane) write() {
	_, exact := l.nc.(*net.TCPConn)
	for {
		select {
		case <-l.wake:
		case <-l.over:
			return
		}
		// Let others append first: one write instead of many.
		l.mu.Lock()
		gathered := len(l.calls)-l.taken >= 2
		l.mu.Unlock()
		if !gathered {
			runtime.Gosched()
		}
		for {
			l.mu.Lock()
			out := l.rest
			if l.rest = nil; out == nil {
				out = l.take()
			}
			l.mu.Unlock()
			if out == nil {
				break
			}

			n, err := l.writeAll(out)

			l.mu.Lock()
			l.keep(out)
			if err != nil {
				if exact { // the count of others need not be what the peer may have
					l.taken -= unwritten(out, n)
				}
				if l.cause == nil { // answers that have arrived still count
					l.readUntil(time.Now().Add(drainTime))
				}
				l.endWith(lost(err))
				l.mu.Unlock()
				return
			}
			l.mu.Unlock()
		}
	}
}

// writeAll writes b, and waits for the peer if it has to.
func (l *lane) writeAll(b []byte) (n int, err error) {
	if l.direct != nil {
		if n, _ = l.direct.TryWrite(b); n == len(b) {
			return n, nil
		}
	}
	m, err := l.nc.Write(b[n:])
	return n + m, err
}

// drainTime is how long answers may still come after a failed write.
const drainTime = 2 * time.Second

// unwritten returns how many of the lines in out cannot have an effect if only the first n
// bytes were written. A line that lacks only its newline can.
func unwritten(out []byte, n int) int {
	return bytes.Count(out[min(n+1, len(out)):], []byte("\n"))
}

// end refuses further appends and tells the writing goroutine to end. The first err says
// why.
func (l *lane) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endWith(err)
}

// endWith is end for a caller that holds mu.
func (l *lane) endWith(err error) {
	if l.cause == nil {
		l.cause = err
		l.ended.Store(true)
		close(l.over)
	}
	if err != nil && l.busy {
		// A write under way ends when reading has ended.
		l.nc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// interrupt ends the lane for Close.
func (l *lane) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endWith(ErrClosed)
	l.nc.SetWriteDeadline(time.Unix(1, 0))
	l.readUntil(time.Unix(1, 0))
}

// readUntil sets the deadline of reading. The caller holds mu.
func (l *lane) readUntil(t time.Time) {
	l.deadline = t
	if !l.kicked {
		l.nc.SetReadDeadline(t)
	}
}

// read is the reading goroutine. It ends when the lane has, and returns why.
func (l *lane) read() error {
	for l.in.err == nil {
		if l.in.err = l.receive(); l.in.err == nil && l.leaveTurn() {
			l.awaitTurn()
			for _, r := range l.in.left {
				r.done(r.index, r.err)
			}
			l.in.left = nil
		}
	}
	return l.in.err
}

// settle completes all calls that will get no answer.
func (l *lane) settle(err error) {
	l.mu.Lock()
	l.taken -= unwritten(l.rest, 0)
	calls, taken := l.calls[l.first:], l.taken-l.first
	l.calls, l.first, l.taken, l.out, l.rest = nil, 0, 0, nil, nil
	l.mu.Unlock()
	// A server that turns a connection away has read nothing from it.
	turnedAway := !l.in.answered && (errors.Is(err, ErrUnauthorized) || errors.Is(err, errTooMany))
	for i, c := range calls {
		l.client.room.Release(c.cost)
		switch {
		case i >= taken:
			c.done(0, notSent(err))
		case turnedAway:
			c.done(0, fmt.Errorf("%w: %w", ErrRefused, err))
		default:
			c.done(0, unknown(err))
		}
	}
}
