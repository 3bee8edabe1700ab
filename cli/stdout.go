package cli

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/mattn/go-isatty"
)

// gatherMax is how many bytes of output wait at most.
const gatherMax = 1 << 20

// gatherer writes lines to a file: at once where they are few, many in one write
// where they are many. Its methods may be called from any goroutine.
type gatherer struct {
	f        *os.File
	terminal bool
	ended    chan struct{}
	failed   chan struct{} // closed once nothing more can be written

	mu     sync.Mutex
	change sync.Cond
	buf    []byte
	spare  []byte
	closed bool
	err    error
}

// newGatherer starts one. A reader of the output that goes away is no reason for a
// signal to end the process: it is an error of the next write, or seen before.
func newGatherer(f *os.File) *gatherer {
	signal.Ignore(syscall.SIGPIPE)
	g := &gatherer{f: f, terminal: isatty.IsTerminal(f.Fd()), ended: make(chan struct{}), failed: make(chan struct{})}
	g.change.L = &g.mu
	go g.write()
	go func() {
		if readerGone(f) {
			g.fail(syscall.EPIPE)
		}
	}()
	return g
}

// add appends a line by what fill does, once there is room for it.
func (g *gatherer) add(fill func(b []byte) []byte) {
	g.mu.Lock()
	for len(g.buf) > gatherMax && g.err == nil {
		g.change.Wait()
	}
	if g.err == nil {
		idle := len(g.buf) == 0
		g.buf = fill(g.buf)
		if idle {
			g.change.Broadcast()
		}
	}
	g.mu.Unlock()
}

func (g *gatherer) write() {
	defer close(g.ended)
	for {
		g.mu.Lock()
		for len(g.buf) == 0 && !g.closed && g.err == nil {
			g.change.Wait()
		}
		if len(g.buf) == 0 || g.err != nil {
			g.mu.Unlock()
			return
		}
		out := g.buf
		g.buf, g.spare = g.spare[:0], nil
		g.change.Broadcast()
		g.mu.Unlock()
		_, err := g.f.Write(out)
		if err != nil {
			g.fail(err)
		}
		g.mu.Lock()
		g.spare = out
		g.mu.Unlock()
	}
}

// fail makes further lines go nowhere.
func (g *gatherer) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
		close(g.failed)
		g.change.Broadcast()
	}
}

// close writes what waits and returns the first error; that the reader of the
// output has gone away is none.
func (g *gatherer) close() error {
	g.mu.Lock()
	g.closed = true
	g.change.Broadcast()
	g.mu.Unlock()
	select {
	case <-g.ended:
	case <-g.failed:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if isReaderGone(g.err) {
		return nil
	}
	return g.err
}

// isReaderGone tells the error of a write to a pipe that nobody reads.
func isReaderGone(err error) bool {
	const brokenPipe, noData = syscall.Errno(109), syscall.Errno(232) // what Windows calls it
	return errors.Is(err, syscall.EPIPE) ||
		runtime.GOOS == "windows" && (errors.Is(err, brokenPipe) || errors.Is(err, noData))
}
