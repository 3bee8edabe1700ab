package daemon

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// logQueue writes log lines to a writer that may be slow or stuck: a pipe without a reader, or a paused
// terminal. Logging never waits for it. When the queue is full, lines are dropped and counted. It
// reserves room for lines that say who has connected, and more for errors: a peer that provokes many
// lines can hide neither.
//
// It is not zerolog's diode, which can leave the last line in its queue until another follows (seen in
// v1.35.1: it wakes its reader without the lock under which the reader goes to sleep), and "listening" is
// often the last line for a long time.
type logQueue struct {
	lines   chan []byte
	most    int // limit for lines that are neither connections nor errors
	dropped atomic.Uint64
	report  func(lines uint64) // called with the number of lines dropped since the last call

	closing   chan struct{}
	closeOnce sync.Once
	done      chan struct{} // closed once everything is written, after closing
}

// newLogQueue returns a queue of this many lines in front of out, with room for as many again that matter
// more. Its own goroutine writes to out and calls report.
func newLogQueue(out io.Writer, lines int, report func(lines uint64)) *logQueue {
	q := &logQueue{lines: make(chan []byte, 2*lines), most: lines, report: report, closing: make(chan struct{}), done: make(chan struct{})}
	go q.run(out)
	return q
}

// Write is WriteLevel for a line without a level.
func (q *logQueue) Write(line []byte) (int, error) { return q.WriteLevel(zerolog.NoLevel, line) }

// connected marks the line that says that a peer has connected. No peer can put it into another line,
// where its quotes would be escaped.
var connected = []byte(`"event":"connected"`)

// WriteLevel queues a copy of line. It never fails and may be called from any goroutine; after close,
// lines may be lost.
func (q *logQueue) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	most := q.most
	switch {
	case level >= zerolog.ErrorLevel && level <= zerolog.PanicLevel:
		most = cap(q.lines)
	case bytes.Contains(line, connected):
		most += most / 2
	}
	if len(q.lines) < most { // roughly: others may be added in between
		select {
		case q.lines <- bytes.Clone(line):
			return len(line), nil
		default:
		}
	}
	q.dropped.Add(1)
	return len(line), nil
}

// run writes queued lines, and after closing the remaining ones. Losing the reader of the log is no
// reason to stop, so errors are ignored.
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

// close waits until everything that was logged before is written, for at most this long.
func (q *logQueue) close(most time.Duration) {
	q.closeOnce.Do(func() { close(q.closing) })
	select {
	case <-q.done:
	case <-time.After(most):
	}
}
