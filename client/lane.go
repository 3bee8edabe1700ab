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
)

// call is one append that is under way.
type call struct {
	id    uint64
	cost  int64 // what it holds of the client's room
	done  func(index uint64, err error)
	waits bool // done wakes a goroutine that has waited for it
}

// lane is one connection that appends go over. One goroutine writes what has
// gathered, as one write; another reads the answers, which come in the order of
// the writes. Whoever appends only puts a line into out.
type lane struct {
	client *Client
	nc     net.Conn
	ended  atomic.Bool // takes no more appends; set with cause

	wake chan struct{} // wakes the writing goroutine
	over chan struct{} // closed once the lane has ended
	done chan struct{} // closed once every call has been completed, and nothing runs

	mu    sync.Mutex
	out   []byte // the lines of calls[taken:], in order
	spare []byte // for out, once that is taken
	calls []call // in the order of their ids; those below first have been answered
	first int
	taken int    // calls below it have been taken by the writing goroutine
	next  uint64 // id of the next call
	due   int    // of those who have waited for the last answers, how many may append again
	busy  bool   // the writing goroutine has been woken, and has not gone to sleep
	cause error  // why the lane has ended
}

// newLane starts a lane on nc. The caller keeps client.running from sinking to 0,
// or knows that nobody waits for it yet.
func (c *Client) newLane(nc net.Conn) *lane {
	l := &lane{client: c, nc: nc, wake: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{})}
	written := make(chan struct{})
	c.running.Go(func() {
		defer close(written)
		l.write()
	})
	c.running.Go(func() {
		defer close(l.done)
		answered, err := l.read()
		l.end(err)
		<-written
		if errors.Is(err, errReleased) {
			return // the connection goes on, as a read's
		}
		l.nc.Close()
		l.settle(answered, err)
	})
	return l
}

// add puts an append in line. It refuses once the lane has ended.
func (l *lane) add(entry []byte, c call) (id uint64, ok bool) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return 0, false
	}
	c.id = l.next
	l.next++
	l.calls = append(l.calls, c)
	l.out = append(l.out, `{"id":"`...)
	l.out = strconv.AppendUint(l.out, c.id, 10)
	l.out = append(l.out, `","entry":`...)
	l.out = append(l.out, entry...)
	l.out = append(l.out, "}\n"...)
	wake := !l.busy
	l.busy = true
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{} // has room: busy says that nobody else has sent
	}
	return c.id, true
}

// withdraw takes a call out of the line, if it has not been taken to be written.
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

// keepOut bounds what of a buffer is kept for its next use.
const keepOut = 1 << 20

// write is the writing goroutine. It ends when the lane has.
func (l *lane) write() {
	_, exact := l.nc.(*net.TCPConn)
	for {
		select {
		case <-l.wake:
		case <-l.over:
			return
		}
		// Whoever is about to append may do so: one write instead of many.
		l.mu.Lock()
		gather := len(l.calls)-l.taken < max(l.due, 2)
		l.due = 0
		l.mu.Unlock()
		if gather {
			runtime.Gosched()
		}
		for {
			l.mu.Lock()
			out := l.out
			if len(out) == 0 || l.cause != nil {
				l.busy = false
				l.mu.Unlock()
				break
			}
			l.out, l.spare = l.spare[:0], nil
			l.taken = len(l.calls)
			l.mu.Unlock()

			n, err := l.nc.Write(out)

			l.mu.Lock()
			if cap(out) <= keepOut {
				l.spare = out[:0]
			}
			if err != nil {
				if exact { // the count of others need not be what the peer may have
					l.taken -= unwritten(out, n)
				}
				l.mu.Unlock()
				l.end(lost(err))
				// Answers that have arrived still count.
				l.nc.SetReadDeadline(time.Now().Add(drainTime))
				return
			}
			l.mu.Unlock()
		}
	}
}

// drainTime is how long answers may still come after a failed write.
const drainTime = 2 * time.Second

// unwritten is how many of the lines in out cannot have an effect when only its
// first n bytes were written. A line without its newline can.
func unwritten(out []byte, n int) int {
	return bytes.Count(out[min(n+1, len(out)):], []byte("\n"))
}

// end keeps further appends off and tells the writing goroutine to end. The first
// err is why.
func (l *lane) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = err
		l.ended.Store(true)
		close(l.over)
	}
	if err != nil && !errors.Is(err, errReleased) && l.busy {
		// A write that is going on ends with the reading side's end.
		l.nc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// interrupt ends the lane for Close.
func (l *lane) interrupt() {
	l.end(ErrClosed)
	l.nc.SetDeadline(time.Unix(1, 0))
}

// errReleased ends a lane whose connection goes on as a read's.
var errReleased = errors.New("released")

// release ends a lane that nothing has been appended over, and returns its
// connection, which may have ended meanwhile, or nil.
func (l *lane) release() net.Conn {
	l.mu.Lock()
	if l.cause != nil || l.next > 0 {
		l.mu.Unlock()
		return nil
	}
	l.cause = errReleased
	l.ended.Store(true)
	close(l.over)
	l.mu.Unlock()
	l.nc.SetReadDeadline(time.Unix(1, 0))
	<-l.done
	l.nc.SetReadDeadline(time.Time{})
	return l.nc
}

// replyBuffer is the least size of the buffer that answers are read into.
const replyBuffer = 32 << 10

// read reads answers until the connection's end and tells why it ended, and
// whether any answer had come.
func (l *lane) read() (answered bool, err error) {
	buf := make([]byte, replyBuffer)
	var replies []reply
	hi := 0
	for {
		n, err := l.nc.Read(buf[hi:])
		hi += n
		lo := 0
		replies = replies[:0]
		for {
			i := bytes.IndexByte(buf[lo:hi], '\n')
			if i < 0 {
				break
			}
			r, ok := parseReply(buf[lo : lo+i])
			lo += i + 1
			if !ok {
				l.answer(replies)
				return answered, fmt.Errorf("%w: the answer to an append is %.100q", ErrProtocol, buf[lo-i-1:lo])
			}
			if r.fault != "" {
				l.answer(replies)
				return answered, faultError(r.fault)
			}
			replies = append(replies, r)
			answered = true
		}
		if err := l.answer(replies); err != nil {
			return answered, err
		}
		hi = copy(buf, buf[lo:hi])
		if hi == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		if err != nil {
			return answered, l.readEnd(err)
		}
	}
}

// readEnd is what ended the lane when a read has failed with err.
func (l *lane) readEnd(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the server")
	}
	return lost(err)
}

// answer completes the calls that the replies are for: the oldest ones.
func (l *lane) answer(replies []reply) error {
	if len(replies) == 0 {
		return nil
	}
	cost, due := int64(0), 0
	l.mu.Lock()
	if len(replies) > l.taken-l.first {
		l.mu.Unlock()
		return fmt.Errorf("%w: there are more answers than appends", ErrProtocol)
	}
	for i := range replies {
		c := &l.calls[l.first+i]
		if replies[i].id != c.id {
			l.mu.Unlock()
			return fmt.Errorf("%w: an answer has id %d, want %d", ErrProtocol, replies[i].id, c.id)
		}
		replies[i].done = c.done
		cost += c.cost
		if c.waits {
			due++
		}
	}
	l.first += len(replies)
	if l.first > len(l.calls)/2 {
		n := copy(l.calls, l.calls[l.first:])
		clear(l.calls[n:]) // lets go of done
		l.calls, l.taken, l.first = l.calls[:n], l.taken-l.first, 0
	}
	// Many who are woken one after the other and append again would have a write each.
	wake := due > 1 && !l.busy
	if wake {
		l.busy, l.due = true, due
	}
	l.mu.Unlock()
	l.client.room.Release(cost)
	for i, r := range replies {
		if wake && i == len(replies)-1 {
			l.wake <- struct{}{}
		}
		r.done(r.index, r.err)
	}
	return nil
}

// settle completes all calls that will get no answer.
func (l *lane) settle(answered bool, err error) {
	l.mu.Lock()
	calls, taken := l.calls[l.first:], l.taken-l.first
	l.calls, l.first, l.taken, l.out = nil, 0, 0, nil
	l.mu.Unlock()
	// A server that turns a connection away has not looked at what came over it.
	turnedAway := !answered && (errors.Is(err, ErrUnauthorized) || errors.Is(err, errTooMany))
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
