package cli

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue passes log lines on to a writer that may take its time or be stuck: a
// pipe that nobody reads, a terminal that is held. What logs never waits for it.
// Where the queue is full a line is dropped, and counted.
//
// zerolog has a queue for this, its diode. It is not used since a line that comes
// as its reader goes to sleep is not passed on before the next one comes (seen in
// v1.35.1: the reader is woken without the lock under which it looks and sleeps),
// and "listening" is often the last line for long.
type logQueue struct {
	lines   chan []byte
	dropped atomic.Uint64
	tell    func(lines uint64) // that so many lines were dropped since it last was called

	closing   chan struct{}
	closeOnce sync.Once
	done      chan struct{} // everything was passed on after closing
}

// newLogQueue makes a queue of that many lines in front of out, which is written
// to by one goroutine alone. tell is called on that goroutine too.
func newLogQueue(out io.Writer, lines int, tell func(lines uint64)) *logQueue {
	q := &logQueue{lines: make(chan []byte, lines), tell: tell, closing: make(chan struct{}), done: make(chan struct{})}
	go q.run(out)
	return q
}

// Write queues a line, of which it keeps no reference. It never fails and may be
// called by any goroutine; after close a line may be lost.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// run passes on what is queued, and after closing what still is.
func (q *logQueue) run(out io.Writer) {
	defer close(q.done)
	for {
		select {
		case line := <-q.lines:
			q.pass(out, line)
		case <-q.closing:
			if len(q.lines) == 0 {
				return
			}
		}
	}
}

// pass passes a line on. A reader of the log that has gone is no reason to end.
func (q *logQueue) pass(out io.Writer, line []byte) {
	out.Write(line)
	if n := q.dropped.Swap(0); n > 0 {
		q.tell(n)
	}
}

// close waits until what was logged before is passed on, and no longer than that
// long.
func (q *logQueue) close(most time.Duration) {
	q.closeOnce.Do(func() { close(q.closing) })
	select {
	case <-q.done:
	case <-time.After(most):
	}
}
