package main

import (
	"fmt"
	"runtime"
	"syscall"
	"time"
)

// writerLoad is a closed loop of appends: every connection keeps a number of
// appends in flight and sends one more for each acknowledgement.
type writerLoad struct {
	addr     string
	conns    int
	inFlight int
	warmup   time.Duration
	duration time.Duration
	// total, if not 0, ends the load after that many appends instead of after
	// the duration.
	total int
	// appender returns the codec of one connection.
	appender func(lane int) appender
}

// writerResult has the measurements of a load.
type writerResult struct {
	appends  int // acknowledged within the measured time
	elapsed  time.Duration
	latency  histogram
	cpu      time.Duration // the generator's, within the measured time
	acked    int           // including those before and after
	startsAt time.Time     // start of the measured time
}

func (r *writerResult) rate() float64 { return float64(r.appends) / r.elapsed.Seconds() }

// writerConn is one connection of the load.
type writerConn struct {
	fd    int
	codec appender
	rest  []byte // the start of a reply whose end has not arrived
	out   []byte // bytes that the socket had no room for
	sent  []int64
	first int // position in sent of the oldest append in flight
	open  int // appends in flight
}

// writers drives all connections from one thread with epoll. Against the null server
// on two cores, it takes 37 to 80 % of the processor time per append of a goroutine
// per connection: there are no wake-ups between threads, and the system calls bypass
// Go's scheduler.
type writers struct {
	load   writerLoad
	poll   *poller
	conns  []writerConn
	in     []byte
	out    []byte
	result *writerResult

	measuring bool
	stopping  bool
	started   int // appends sent
}

// run runs the load. It calls mark, if not nil, at the start and the end of the
// measured time.
func (l writerLoad) run(mark func()) (*writerResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := &writers{
		load:   l,
		in:     make([]byte, 1<<20),
		out:    make([]byte, 0, 1<<20),
		result: new(writerResult),
	}
	if mark == nil {
		mark = func() {}
	}
	var err error
	if w.poll, err = newPoller(); err != nil {
		return nil, err
	}
	defer w.poll.close()
	defer func() {
		for i := range w.conns {
			syscall.Close(w.conns[i].fd)
		}
	}()
	if err := w.connect(); err != nil {
		return nil, err
	}
	if err := w.drive(mark); err != nil {
		return nil, fmt.Errorf("append to %s: %w", l.addr, err)
	}
	return w.result, nil
}

func (w *writers) connect() error {
	for i := range w.load.conns {
		fd, err := dialRaw(w.load.addr)
		if err != nil {
			return err
		}
		w.conns = append(w.conns, writerConn{
			fd:    fd,
			codec: w.load.appender(i),
			sent:  make([]int64, w.load.inFlight),
		})
		send, until := w.conns[i].codec.greeting()
		if err := greet(fd, send, until); err != nil {
			return err
		}
		if err := w.poll.add(fd, i); err != nil {
			return err
		}
	}
	return nil
}

// drive runs the loop through its phases: warming up, measuring, and draining the
// appends in flight, so that no late refusal is missed.
func (w *writers) drive(mark func()) error {
	start := now()
	measureAt := start + int64(w.load.warmup)
	endAt := measureAt + int64(w.load.duration)
	for i := range w.conns {
		if err := w.send(&w.conns[i], i, w.load.inFlight, now()); err != nil {
			return err
		}
	}
	var cpu time.Duration
	var measuredFrom int64
	lastReply := start
	for {
		t := now()
		if !w.measuring && !w.stopping && t >= measureAt {
			w.measuring = true
			mark()
			cpu, measuredFrom = threadCPU(), now()
			w.result.startsAt = time.Now()
		}
		if w.measuring && (w.load.total == 0 && t >= endAt || w.load.total > 0 && w.result.acked >= w.load.total) {
			w.measuring, w.stopping = false, true
			w.result.elapsed = time.Duration(now() - measuredFrom)
			w.result.cpu = threadCPU() - cpu
			mark()
		}
		if w.stopping && w.result.acked == w.started {
			return nil
		}
		acked := w.result.acked
		events, err := w.poll.wait(10)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if err := w.handle(int(ev.Fd), ev.Events); err != nil {
				return err
			}
		}
		if t = now(); w.result.acked > acked {
			lastReply = t
		} else if t-lastReply > int64(30*time.Second) {
			return fmt.Errorf("no reply for 30 s, %d appends in flight", w.started-w.result.acked)
		}
	}
}

func (w *writers) handle(i int, events uint32) error {
	c := &w.conns[i]
	if events&syscall.EPOLLOUT != 0 && len(c.out) > 0 {
		if err := w.flush(c, i); err != nil {
			return err
		}
	}
	if events&^syscall.EPOLLOUT == 0 {
		return nil
	}
	held := copy(w.in, c.rest)
	n, errno := rawRead(c.fd, w.in[held:])
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		return errno
	}
	if n == 0 {
		return fmt.Errorf("connection %d closed by the server", i)
	}
	t := now()
	b := w.in[:held+n]
	used, replies, err := c.codec.replies(b)
	if err != nil {
		return err
	}
	c.rest = append(c.rest[:0], b[used:]...)
	if replies > c.open {
		return fmt.Errorf("connection %d: %d replies for %d appends", i, replies, c.open)
	}
	for range replies {
		if w.measuring {
			w.result.latency.record(t - c.sent[c.first])
		}
		if c.first++; c.first == len(c.sent) {
			c.first = 0
		}
	}
	c.open -= replies
	w.result.acked += replies
	if w.measuring {
		w.result.appends += replies
	}
	return w.send(c, i, replies, t)
}

// send puts n more appends in flight on c.
func (w *writers) send(c *writerConn, i, n int, t int64) error {
	if w.stopping {
		return nil
	}
	if w.load.total > 0 {
		n = min(n, w.load.total-w.started)
	}
	if n == 0 {
		return nil
	}
	at := c.first + c.open
	for range n {
		if at >= len(c.sent) {
			at -= len(c.sent)
		}
		c.sent[at] = t
		at++
	}
	c.open += n
	w.started += n
	if len(c.out) > 0 {
		c.out = c.codec.requests(c.out, n, t)
		return nil
	}
	w.out = c.codec.requests(w.out[:0], n, t)
	wrote, errno := rawWrite(c.fd, w.out)
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		wrote = 0
	} else if errno != 0 {
		return errno
	}
	if wrote < len(w.out) {
		c.out = append(c.out[:0], w.out[wrote:]...)
		return w.poll.output(c.fd, i, true)
	}
	return nil
}

// flush writes the bytes that the socket had no room for.
func (w *writers) flush(c *writerConn, i int) error {
	wrote, errno := rawWrite(c.fd, c.out)
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		return errno
	}
	c.out = c.out[:copy(c.out, c.out[wrote:])]
	if len(c.out) == 0 {
		return w.poll.output(c.fd, i, false)
	}
	return nil
}

// threadCPU returns the processor time of the calling thread.
func threadCPU() time.Duration {
	var u syscall.Rusage
	const rusageThread = 1
	if err := syscall.Getrusage(rusageThread, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
