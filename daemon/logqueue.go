package daemon

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue writes log lines to a writer that may be slow or stuck: a pipe that nobody reads, a
// terminal that is held. Logging never waits for it. When the queue is full a line is dropped
// and counted.
//
// It is not zerolog's diode, which can leave the last line in its queue until another follows
// (seen in v1.35.1: it wakes its reader without the lock under which the reader goes to
// sleep), and "listening" is often the last line for a long time.
type logQueue struct {
	lines   chan []byte
	dropped atomic.Uint64
	report  func(lines uint64) // called with how many lines were dropped since the last call

	closing   chan struct{}
	closeOnce sync.Once
	done      chan struct{} // closed once everything is written, after closing
}

// newLogQueue returns a queue of that many lines in front of out. A goroutine of its own writes
// to out and calls report.
func newLogQueue(out io.Writer, lines int, report func(lines uint64)) *logQueue {
	q := &logQueue{lines: make(chan []byte, lines), report: report, closing: make(chan struct{}), done: make(chan struct{})}
	go q.run(out)
	return q
}

// Write queues a copy of line. It never fails and may be called from any goroutine; after close
// a line may be lost.
func (q *logQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.dropped.Add(1)
	}
	return len(line), nil
}

// run writes what is queued, and after closing what still is. Losing the reader of the log is no
// reason to end, so errors are dropped.
func (q *logQueue) run(out io.Writer) {
	defer close(q.done)
	for {
		select {
		case line := <-q.lines:
			out.Write(line)
			if n := q.dropped.Swap(0); n > 0 {
				q.report(n)
			}
		case <-q.closing:
			if len(q.lines) == 0 {
				return
			}
		}
	}
}

// close waits until everything that was logged before is written, at most for that time.
func (q *logQueue) close(most time.Duration) {
	q.closeOnce.Do(func() { close(q.closing) })
	select {
	case <-q.done:
	case <-time.After(most):
	}
}
