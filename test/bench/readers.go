package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// readerLoad is a number of connections that read, on one thread.
type readerLoad struct {
	addr  string
	conns int
	// count is how many entries a connection reads. With repeat, it then connects
	// again and reads them again; otherwise the load ends when all connections
	// have read theirs. With 0, connections follow forever.
	count  int
	repeat bool
	reader func() reader
	visit  func(entry []byte)
	// Closing stop ends the load early. connected is closed once all are connected.
	stop      atomic.Bool
	connected chan struct{}
}

type readerResult struct {
	entries int
	bytes   int64
	elapsed time.Duration
	cpu     time.Duration
}

type readerConn struct {
	fd      int
	codec   reader
	rest    []byte
	entries int
}

// readBuffer is the most that one read returns, in bytes: many for each system
// call, but few enough to be in the processor's cache when they are scanned.
const readBuffer = 256 << 10

func newReaderLoad(addr string, conns, count int, reader func() reader) *readerLoad {
	return &readerLoad{
		addr: addr, conns: conns, count: count, reader: reader,
		connected: make(chan struct{}),
	}
}

// readers is the loop of a readerLoad.
type readers struct {
	*readerLoad
	poll   *poller
	list   []readerConn
	in     []byte
	out    []byte
	done   int
	result readerResult
}

func (l *readerLoad) run() (*readerResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &readers{readerLoad: l, list: make([]readerConn, l.conns)}
	r.in = make([]byte, readBuffer)
	var err error
	if r.poll, err = newPoller(); err != nil {
		return nil, err
	}
	defer r.poll.close()
	for i := range r.list {
		r.list[i].fd = -1
	}
	defer func() {
		for i := range r.list {
			syscall.Close(r.list[i].fd)
		}
	}()
	start, cpu := now(), threadCPU()
	for i := range r.list {
		if err := r.connect(i); err != nil {
			return nil, err
		}
	}
	close(l.connected)
	last := start
	for r.done < len(r.list) && !l.stop.Load() {
		events, err := r.poll.wait(10)
		if err != nil {
			return nil, err
		}
		for _, ev := range events {
			if err := r.handle(int(ev.Fd)); err != nil {
				return nil, fmt.Errorf("read from %s: %w", l.addr, err)
			}
		}
		if len(events) > 0 {
			last = now()
		} else if l.count > 0 && now()-last > int64(30*time.Second) {
			return nil, fmt.Errorf("read from %s: nothing for 30 s after %d entries", l.addr, r.result.entries)
		}
	}
	r.result.elapsed = time.Duration(now() - start)
	r.result.cpu = threadCPU() - cpu
	return &r.result, nil
}

// connect opens connection i, after closing the previous one.
func (r *readers) connect(i int) error {
	c := &r.list[i]
	if c.fd >= 0 {
		syscall.Close(c.fd)
	}
	fd, err := dialRaw(r.addr)
	if err != nil {
		return err
	}
	*c = readerConn{fd: fd, codec: r.reader(), rest: c.rest[:0]}
	send, until := c.codec.greeting()
	if err := greet(fd, send, until); err != nil {
		return err
	}
	if err := r.poll.add(fd, i); err != nil {
		return err
	}
	return r.ask(c)
}

// ask sends the codec's next message. Requests are so short and few that the
// socket always has room for them.
func (r *readers) ask(c *readerConn) error {
	r.out = c.codec.ask(r.out[:0])
	if len(r.out) == 0 {
		return nil
	}
	n, errno := rawWrite(c.fd, r.out)
	if errno != 0 || n < len(r.out) {
		return fmt.Errorf("request of %d bytes: wrote %d: %w", len(r.out), n, errno)
	}
	return nil
}

func (r *readers) handle(i int) error {
	c := &r.list[i]
	if c.fd < 0 {
		return nil
	}
	held := len(c.rest)
	if held+4096 > len(r.in) {
		return fmt.Errorf("a message of more than %d bytes", held)
	}
	copy(r.in, c.rest)
	n, errno := rawRead(c.fd, r.in[held:])
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		return errno
	}
	if n == 0 {
		return fmt.Errorf("connection %d closed by the server after %d entries", i, c.entries)
	}
	b := r.in[:held+n]
	used, entries, err := c.codec.scan(b, r.visit)
	if err != nil {
		return err
	}
	c.rest = append(c.rest[:0], b[used:]...)
	c.entries += entries
	r.result.entries += entries
	r.result.bytes += int64(n)
	if r.count > 0 && c.entries >= r.count {
		if r.repeat {
			return r.connect(i)
		}
		syscall.Close(c.fd)
		c.fd = -1
		r.done++
		return nil
	}
	return r.ask(c)
}
