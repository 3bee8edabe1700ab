package client

import (
	"bytes"
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
	waits bool    // done wakes a goroutine that waits for it
	more  *Result // receives what the answer says beyond the index, before done runs
}

// line is what an append sends, except its id.
type line struct {
	value   []byte // the entry, or the array of several
	several bool
	checked bool     // value can be sent as it is
	rest    string   // its other members, each after a comma
	needs   []string // the features that the server must have
	count   int      // how many entries there are, if that matters
	head    uint64   // the expected head, if needs has "if"
}

// pipeline is the connection that carries appends. One goroutine writes the gathered lines in
// one write; another reads the answers, which come in the order of the writes. An append only
// adds a line to out, with two exceptions: an append that is alone writes and reads by itself
// (lead.go), and goroutines that have just been answered write for each other (gather.go).
type pipeline struct {
	client *Client
	nc     net.Conn
	source io.Reader    // of nc; owned by the goroutine that reads
	direct *nowait.Conn // of nc, for calls that do not wait; nil if no append can lead. Used like source for reads, and while busy for writes
	ended  atomic.Bool  // takes no more appends; set with cause

	wake    chan struct{} // wakes the writing goroutine
	reclaim chan struct{} // tells the reading goroutine to read again
	over    chan struct{} // closed once the pipeline has ended
	done    chan struct{} // closed once every call has been completed, and nothing runs

	features atomic.Pointer[features] // of the server, once it has told them
	told     chan struct{}            // closed once features is set

	in inbox

	mu     sync.Mutex
	out    []byte // the lines of calls[taken:], in order
	spare  []byte // for out, once that is taken
	calls  []call // in the order of their ids; those below first have been answered
	first  int
	taken  int    // calls below it have been taken to be written
	next   uint64 // id of the next call
	rest   []byte // the part of a write without waiting that is left to the writing goroutine
	busy   bool   // the writing goroutine is awake, or another goroutine writes or will
	gather gather
	reads  reads // which goroutine reads
	lone   int   // how many consecutive answers have come one at a time, with nothing else under way
	cause  error // why the pipeline has ended
	asked  asked // progress of the question for the server's features

	deadline    time.Time // of reading, except while a leader is being interrupted
	interrupted bool      // the read deadline is set in order to interrupt a leader
}

// newPipeline starts a pipeline on nc. The caller keeps client.running above 0, or knows that
// nothing waits for it yet.
func (c *Client) newPipeline(nc net.Conn) *pipeline {
	p := &pipeline{client: c, nc: nc, source: nc, direct: nowait.NewConn(nc), in: inbox{buf: make([]byte, replyBuffer)},
		wake: make(chan struct{}, 1), reclaim: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}), told: make(chan struct{})}
	if p.direct != nil {
		p.source = p.direct
	}
	written := make(chan struct{})
	c.running.Go(func() {
		defer close(written)
		p.write()
	})
	c.running.Go(func() {
		defer close(p.done)
		err := p.read()
		p.end(err)
		<-written
		p.nc.Close()
		p.settle(err)
	})
	return p
}

// add queues an append; ok is false once the pipeline has ended. If writes is true, the caller
// must cause the queue to be written.
func (p *pipeline) add(l *line, c call, leads bool) (id uint64, writes, ok bool) {
	p.mu.Lock()
	if p.cause != nil {
		p.mu.Unlock()
		return 0, false, false
	}
	c.id = p.next
	p.next++
	p.calls = append(p.calls, c)
	p.out = append(p.out, `{"id":"`...)
	p.out = strconv.AppendUint(p.out, c.id, 10)
	if l.several {
		p.out = append(p.out, `","entries":`...)
	} else {
		p.out = append(p.out, `","entry":`...)
	}
	p.out = append(p.out, l.value...)
	p.out = append(p.out, l.rest...)
	p.out = append(p.out, lineEnd...)
	idle, reclaim := !p.busy, p.reads == byNone
	p.busy = true
	writes = idle && leads
	if p.gather.on && p.gather.ends(c.waits) {
		writes = true
	}
	if reclaim {
		p.reads = byReader
	}
	p.mu.Unlock()
	if reclaim {
		p.reclaim <- struct{}{} // never blocks: it is received each time
	}
	if idle && !leads {
		p.wake <- struct{}{} // has room: busy says that no other goroutine has sent
	}
	return c.id, writes, true
}

// withdraw removes a call from the queue, unless it has been taken to be written.
func (p *pipeline) withdraw(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := 0
	for i, c := range p.calls[p.taken:] {
		end := at + bytes.IndexByte(p.out[at:], '\n') + 1
		if c.id == id {
			p.out = append(p.out[:at], p.out[end:]...)
			p.calls = append(p.calls[:p.taken+i], p.calls[p.taken+i+1:]...)
			p.client.room.Release(c.cost)
			return true
		}
		at = end
	}
	return false
}

// take takes the gathered lines, to be written. If there are none, the pipeline is no longer
// busy. The caller holds mu.
func (p *pipeline) take() []byte {
	if p.asked == toAsk {
		p.out, p.asked = append(p.out, askLine...), asking
	}
	out := p.out
	if len(out) == 0 || p.cause != nil {
		p.busy = false
		return nil
	}
	p.out, p.spare = p.spare[:0], nil
	p.taken = len(p.calls)
	return out
}

// keep keeps the memory of written lines. The caller holds mu.
func (p *pipeline) keep(out []byte) {
	const most = 1 << 20
	if cap(out) <= most {
		p.spare = out[:0]
	}
}

// write is the writing goroutine. It ends when the pipeline has.
func (p *pipeline) write() {
	_, exact := p.nc.(*net.TCPConn)
	for {
		select {
		case <-p.wake:
		case <-p.over:
			return
		}
		// Let others append first: one write instead of many.
		p.mu.Lock()
		gathered := len(p.calls)-p.taken >= 2
		p.mu.Unlock()
		if !gathered {
			runtime.Gosched()
		}
		for {
			p.mu.Lock()
			out := p.rest
			if p.rest = nil; out == nil {
				out = p.take()
			}
			p.mu.Unlock()
			if out == nil {
				break
			}

			n, err := p.writeAll(out)

			p.mu.Lock()
			p.keep(out)
			if err != nil {
				if exact { // otherwise the count need not match what the peer may have
					p.taken -= unwritten(out, n)
				}
				if p.cause == nil { // answers that have arrived still count
					p.readUntil(time.Now().Add(drainTime))
				}
				p.endWith(lost(err))
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	}
}

// writeAll writes b, and waits for the peer if necessary.
func (p *pipeline) writeAll(b []byte) (n int, err error) {
	if p.direct != nil {
		if n, _ = p.direct.TryWrite(b); n == len(b) {
			return n, nil
		}
	}
	m, err := p.nc.Write(b[n:])
	return n + m, err
}

// drainTime is how long answers may still come after a failed write.
const drainTime = 2 * time.Second

// lineEnd ends each line that carries an append, and occurs in it nowhere else.
const lineEnd = "}\n"

// unwritten returns how many of the appends in out cannot have an effect if only the first n
// bytes were written. A line that lacks only its newline can.
func unwritten(out []byte, n int) int { return bytes.Count(out[n:], []byte(lineEnd)) }

// end refuses further appends and tells the writing goroutine to end. The first err says
// why.
func (p *pipeline) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endWith(err)
}

// endWith is end for a caller that holds mu.
func (p *pipeline) endWith(err error) {
	if p.cause == nil {
		p.cause = err
		p.ended.Store(true)
		close(p.over)
	}
	if err != nil && p.busy {
		// A write under way ends when reading has ended.
		p.nc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// interrupt ends the pipeline for Close.
func (p *pipeline) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endWith(ErrClosed)
	p.nc.SetWriteDeadline(time.Unix(1, 0))
	p.readUntil(time.Unix(1, 0))
}

// readUntil sets the deadline of reading. The caller holds mu.
func (p *pipeline) readUntil(t time.Time) {
	p.deadline = t
	if !p.interrupted {
		p.nc.SetReadDeadline(t)
	}
}

// read is the reading goroutine. It ends when the pipeline has, and returns why.
func (p *pipeline) read() error {
	for p.in.err == nil {
		if p.in.err = p.receive(); p.in.err == nil && p.handOff() {
			p.awaitReclaim()
			for _, r := range p.in.left {
				r.done(r.index, r.err)
			}
			p.in.left = nil
		}
	}
	return p.in.err
}

// settle completes all calls that will get no answer.
func (p *pipeline) settle(err error) {
	p.mu.Lock()
	p.taken -= unwritten(p.rest, 0)
	calls, taken := p.calls[p.first:], p.taken-p.first
	p.calls, p.first, p.taken, p.out, p.rest = nil, 0, 0, nil, nil
	p.mu.Unlock()
	untaken := !p.in.answered && turnedAway(err)
	for i, c := range calls {
		p.client.room.Release(c.cost)
		switch {
		case i >= taken:
			c.done(0, notSent(err))
		case untaken:
			c.done(0, fmt.Errorf("%w: %w", ErrRefused, err))
		default:
			c.done(0, unknown(err))
		}
	}
}
