package main

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// fanoutCell appends at a steady rate while many connections follow the log,
// and measures the time from each send to each delivery. The sender does not
// wait for acknowledgements, so that a slow server cannot slow the load down.
func fanoutCell(followers, perSecond int) cell {
	name := fmt.Sprintf("%d followers, %d appends/s", followers, perSecond)
	return cell{group: "fanout", name: name, noNull: true, run: func(r *runner, t *target) (measurement, error) {
		var m measurement
		err := r.withServer(t, nil, func(p *process) (err error) {
			load := newReaderLoad(p.addr, followers, 0, func() reader { return t.read(readPlan{follow: true}) })
			m, err = r.fanout(t, p, load, perSecond)
			return err
		})
		return m, err
	}}
}

// fanout appends to p and measures the deliveries to load, whose connections follow it.
func (r *runner) fanout(t *target, p *process, load *readerLoad, perSecond int) (measurement, error) {
	var (
		latency histogram
		from    atomic.Int64 // entries sent at or after it count
		seen    atomic.Int64
	)
	from.Store(1 << 62)
	load.visit = func(entry []byte) {
		if sent, ok := stampOf(entry); ok && sent >= from.Load() {
			latency.record(now() - sent)
			seen.Add(1)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := load.run()
		ended <- err
	}()
	stop := func() error {
		load.stop.Store(true)
		return <-ended
	}
	select {
	case <-load.connected:
	case err := <-ended:
		return nil, err
	}
	s, err := newSteadySender(p.addr, t.writers(r.entrySize)(0), perSecond)
	if err != nil {
		stop()
		return nil, err
	}
	defer syscall.Close(s.fd)
	// Give the servers a second to set up the followers, then warm up.
	time.Sleep(time.Second)
	if _, err := s.run(r.warmup); err != nil {
		stop()
		return nil, err
	}
	cpu := p.cpu()
	start := now()
	from.Store(start)
	sent, err := s.run(r.duration)
	if err != nil {
		stop()
		return nil, err
	}
	want := int64(sent) * int64(load.conns)
	for end := now() + int64(10*time.Second); seen.Load() < want && now() < end; {
		time.Sleep(time.Millisecond)
	}
	elapsed := time.Duration(now() - start)
	used := p.cpu() - cpu
	if err := stop(); err != nil {
		return nil, err
	}
	if got := seen.Load(); got != want {
		return nil, fmt.Errorf("%d of %d deliveries arrived", got, want)
	}
	m := measurement{
		"deliveries": float64(want) / elapsed.Seconds(),
		"server_cpu": used.Seconds() / float64(want),
	}
	addLatency(m, &latency)
	return m, nil
}

// steadySender appends at a fixed rate on one connection.
type steadySender struct {
	fd       int
	codec    appender
	interval time.Duration
	in       []byte
	held     int
	out      []byte
}

func newSteadySender(addr string, codec appender, perSecond int) (*steadySender, error) {
	fd, err := dialRaw(addr)
	if err != nil {
		return nil, err
	}
	send, until := codec.greeting()
	if err := greet(fd, send, until); err != nil {
		return nil, err
	}
	return &steadySender{
		fd: fd, codec: codec, interval: time.Second / time.Duration(perSecond), in: make([]byte, 64<<10),
	}, syscall.SetNonblock(fd, true)
}

// run sends for a time and returns the number of appends sent.
func (s *steadySender) run(d time.Duration) (sent int, err error) {
	start := now()
	for due := int64(0); due < int64(d); due += int64(s.interval) {
		time.Sleep(time.Duration(start + due - now()))
		s.out = s.codec.requests(s.out[:0], 1, now())
		if n, errno := rawWrite(s.fd, s.out); errno != 0 || n < len(s.out) {
			return sent, fmt.Errorf("append to follow: %w", errno)
		}
		sent++
		if err := s.drain(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// drain reads the acknowledgements that have arrived.
func (s *steadySender) drain() error {
	n, errno := rawRead(s.fd, s.in[s.held:])
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		return errno
	}
	used, _, err := s.codec.replies(s.in[:s.held+n])
	s.held = copy(s.in, s.in[used:s.held+n])
	return err
}
