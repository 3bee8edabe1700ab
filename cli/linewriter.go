package cli

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
)

// pendingMax is the size in bytes of output that may wait.
const pendingMax = 1 << 20

// lineWriter writes lines to a file: few lines at once, many together in one write. Its methods
// may be called from any goroutine.
type lineWriter struct {
	f        *os.File
	terminal bool
	ended    chan struct{}
	failed   chan struct{} // closed once nothing more can be written

	mu     sync.Mutex
	change sync.Cond
	buf    []byte
	spare  []byte
	ends   []lineEnd // of the entries in buf, for callers of written
	done   uint64    // the last entry that has been written
	closed bool
	err    error
}

// lineEnd is where in a buffer the lines of an entry, and all before it, end.
type lineEnd struct {
	offset int
	index  uint64
}

// newLineWriter starts a lineWriter. If the reader of the output goes away, no signal ends the
// process: the next write fails, or the writer notices it before that.
func newLineWriter(f *os.File) *lineWriter {
	signal.Ignore(syscall.SIGPIPE)
	w := &lineWriter{f: f, terminal: isatty.IsTerminal(f.Fd()), ended: make(chan struct{}), failed: make(chan struct{})}
	w.change.L = &w.mu
	go w.run()
	go func() {
		if readerGone(f) {
			w.fail(syscall.EPIPE)
		}
	}()
	return w
}

// add calls fill to append a line, once there is room for it.
func (w *lineWriter) add(fill func(b []byte) []byte) { w.addEntry(0, fill) }

// addEntry is add for the lines of an entry, of which there may be none. Once they and all lines
// before them are written, written returns its index, unless that is 0.
func (w *lineWriter) addEntry(index uint64, fill func(b []byte) []byte) {
	w.mu.Lock()
	for len(w.buf) > pendingMax && w.err == nil {
		w.change.Wait()
	}
	if w.err == nil {
		idle := w.idle()
		w.buf = fill(w.buf)
		if index > 0 {
			w.ends = append(w.ends, lineEnd{len(w.buf), index})
		}
		if idle {
			w.change.Broadcast()
		}
	}
	w.mu.Unlock()
}

// idle reports whether nothing waits to be written. The caller holds mu.
func (w *lineWriter) idle() bool { return len(w.buf) == 0 && len(w.ends) == 0 }

// written returns the index of the last entry all of whose lines, and all before them, are
// written.
func (w *lineWriter) written() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

func (w *lineWriter) run() {
	defer close(w.ended)
	for {
		w.mu.Lock()
		for w.idle() && !w.closed && w.err == nil {
			w.change.Wait()
		}
		if w.idle() || w.err != nil {
			w.mu.Unlock()
			return
		}
		out, ends := w.buf, w.ends
		w.buf, w.spare, w.ends = w.spare[:0], nil, nil
		w.change.Broadcast()
		w.mu.Unlock()
		n, err := 0, error(nil)
		if len(out) > 0 {
			n, err = w.f.Write(out)
		}
		w.mu.Lock()
		for _, e := range ends {
			if e.offset <= n {
				w.done = max(w.done, e.index)
			}
		}
		w.spare = out
		w.mu.Unlock()
		if err != nil {
			w.fail(err)
		}
	}
}

// fail makes add drop lines from now on.
func (w *lineWriter) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.failed)
		w.change.Broadcast()
	}
}

// close writes pending lines and returns the first error. It is not an error if the reader of the
// output has gone away.
func (w *lineWriter) close() error {
	w.mu.Lock()
	w.closed = true
	w.change.Broadcast()
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-w.failed:
		// If the reader has gone away, the write under way ends, and tells how much was written.
		select {
		case <-w.ended:
		case <-time.After(time.Second):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if isReaderGone(w.err) {
		return nil
	}
	return w.err
}

// isReaderGone recognizes the error of a write to a pipe without a reader.
func isReaderGone(err error) bool {
	const brokenPipe, noData = syscall.Errno(109), syscall.Errno(232) // Windows's errors for that
	return errors.Is(err, syscall.EPIPE) ||
		runtime.GOOS == "windows" && (errors.Is(err, brokenPipe) || errors.Is(err, noData))
}
