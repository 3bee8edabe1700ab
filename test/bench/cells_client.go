package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/client"
)

// clientCells compare the Go client with the raw generator: the same server, the
// same entries, as many connections, and as many appends in flight on each.
func clientCells(s settings) []cell {
	var cells []cell
	for _, c := range [][2]int{{1, 1}, {1, 16}, {1, 64}, {1, 256}, {16, 1}, {64, 1}, {64, 16}} {
		cells = append(cells, clientAppends(c[0], c[1]))
	}
	return append(cells, clientReplay(fill{s.replay, s.entrySize}))
}

// clientWays are the ways to append that are compared with the raw generator. The
// generator is one thread, so each runs with one of Go's processors; the client also
// runs with all of them, a program's default.
var clientWays = []struct {
	name  string
	procs int
	open  func(l *clientLoad, addr string, lane, inFlight int) (run, close func(), err error)
}{
	{"bare", 1, (*clientLoad).openBare},
	{"async", 1, (*clientLoad).openAsync},
	{"append", 1, (*clientLoad).openEach},
	{"async_all", runtime.NumCPU(), (*clientLoad).openAsync},
	{"append_all", runtime.NumCPU(), (*clientLoad).openEach},
}

// clientAppends appends to one log with the raw generator and in each of clientWays.
// They take short turns, since the speed of a disk changes from second to second.
func clientAppends(conns, inFlight int) cell {
	const turns = 5
	return cell{group: "client", name: fmt.Sprintf("append %dx%d", conns, inFlight), only: ownOnly,
		run: func(r *runner, t *target) (measurement, error) {
			short := *r
			short.warmup, short.duration = r.warmup/turns, r.duration/turns
			m := measurement{}
			err := r.withServer(t, nil, func(p *process) error {
				for range turns {
					raw, err := short.appends(t, p, conns, inFlight)
					if err != nil {
						return err
					}
					m["raw"] += raw["rate"] / turns
					for _, way := range clientWays {
						l := &clientLoad{size: r.entrySize, procs: way.procs}
						rate, err := l.run(short.warmup, short.duration, conns, func(lane int) (run, close func(), err error) {
							return way.open(l, p.addr, lane, inFlight)
						})
						if err != nil {
							return err
						}
						m[way.name] += rate / turns
					}
				}
				return nil
			})
			for _, way := range clientWays {
				m[way.name+"_ratio"] = m[way.name] / m["raw"]
			}
			return m, err
		}}
}

// clientLoad is a load that goroutines generate.
type clientLoad struct {
	size  int          // of an entry
	procs int          // Go's processors
	phase atomic.Int32 // one of the constants below; an append loads it once

	mu      sync.Mutex
	counted int
	err     error
}

const (
	warming = iota
	measured
	ended
)

// run measures how many appends a second are acknowledged within the measured time.
// open sets up one connection and returns a function that appends on it until the end
// and closes it.
func (l *clientLoad) run(warmup, duration time.Duration, conns int, open func(lane int) (run, close func(), err error)) (float64, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(l.procs))
	var running sync.WaitGroup
	loads := make([]func(), conns)
	for i := range loads {
		run, close, err := open(i)
		if err != nil {
			return 0, err
		}
		defer close()
		loads[i] = run
	}
	for _, load := range loads {
		running.Go(load)
	}
	time.Sleep(warmup)
	l.phase.Store(measured)
	began := time.Now()
	time.Sleep(duration)
	l.phase.Store(ended)
	took := time.Since(began)
	running.Wait()
	return float64(l.counted) / took.Seconds(), l.err
}

// add adds the counts of one goroutine.
func (l *clientLoad) add(n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted += n
	if l.err == nil {
		l.err = err
	}
}

// openBare is about the least that Go code can do with a net.Conn: one goroutine for
// each connection, which writes as many appends as were answered, in one write, and
// reads what has arrived. It is not safe for concurrent use and returns no indices.
func (l *clientLoad) openBare(addr string, lane, inFlight int) (run, close func(), err error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	return func() { l.add(l.appendBare(nc, lane, inFlight)) }, func() { nc.Close() }, nil
}

func (l *clientLoad) appendBare(nc net.Conn, lane, inFlight int) (counted int, err error) {
	codec := &logAppender{entries: newEntrySource(l.size, uint16(lane))}
	out := codec.requests(nil, inFlight, 0)
	in := make([]byte, 64<<10)
	have := 0
	for open := inFlight; open > 0; {
		if _, err := nc.Write(out); err != nil {
			return counted, err
		}
		n, err := nc.Read(in[have:])
		if err != nil {
			return counted, err
		}
		used, answered, err := codec.replies(in[:have+n])
		if err != nil {
			return counted, err
		}
		have = copy(in, in[used:have+n])
		phase := l.phase.Load()
		if phase == measured {
			counted += answered
		}
		open -= answered
		out = out[:0]
		if phase != ended {
			out = codec.requests(out, answered, 0)
			open += answered
		}
	}
	return counted, nil
}

// openAsync keeps n appends in flight from one goroutine, with AppendAsync.
func (l *clientLoad) openAsync(addr string, lane, inFlight int) (run, close func(), err error) {
	c, err := client.Dial(context.Background(), addr, client.Options{})
	if err != nil {
		return nil, nil, err
	}
	return func() { l.add(l.appendAsync(c, lane, inFlight)) }, func() { c.Close() }, nil
}

func (l *clientLoad) appendAsync(c *client.Client, lane, inFlight int) (counted int, err error) {
	source := newEntrySource(l.size, uint16(lane))
	places := make(chan struct{}, inFlight)
	// counted and failed belong to the goroutine that reads the answers until all
	// places are back.
	var failed error
	done := func(_ uint64, err error) {
		if err != nil {
			failed = err
		} else if l.phase.Load() == measured {
			counted++
		}
		<-places
	}
	var entry []byte
	for err == nil && l.phase.Load() != ended {
		places <- struct{}{}
		entry = source.put(entry[:0], 0)
		if err = c.AppendAsync(context.Background(), entry, done); err != nil {
			<-places
		}
	}
	for range inFlight {
		places <- struct{}{}
	}
	return counted, cmp.Or(err, failed)
}

// openEach keeps n appends in flight from n goroutines, with Append.
func (l *clientLoad) openEach(addr string, lane, inFlight int) (run, close func(), err error) {
	c, err := client.Dial(context.Background(), addr, client.Options{})
	if err != nil {
		return nil, nil, err
	}
	return func() {
		var running sync.WaitGroup
		for i := range inFlight {
			running.Go(func() { l.add(l.appendEach(c, lane*inFlight+i)) })
		}
		running.Wait()
	}, func() { c.Close() }, nil
}

func (l *clientLoad) appendEach(c *client.Client, lane int) (counted int, err error) {
	source := newEntrySource(l.size, uint16(lane))
	var entry []byte
	for {
		entry = source.put(entry[:0], 0)
		if _, err := c.Append(context.Background(), entry); err != nil {
			return counted, err
		}
		switch l.phase.Load() {
		case measured:
			counted++
		case ended:
			return counted, nil
		}
	}
}

// clientReplay reads a whole log with the raw generator and with Follow, in turns.
func clientReplay(f fill) cell {
	const turns = 3
	return cell{group: "client", name: "follow", only: ownOnly, run: func(r *runner, t *target) (measurement, error) {
		dir, err := r.filledDir(t, f)
		if err != nil {
			return nil, err
		}
		warmCache(dir)
		took := make(map[string]time.Duration)
		err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
			for range turns {
				raw, err := replay(t, p, f.entries, 0)
				if err != nil {
					return err
				}
				took["raw"] += time.Duration(float64(f.entries) / raw["rate"] * float64(time.Second))
				for name, procs := range map[string]int{"follow": 1, "follow_all": runtime.NumCPU()} {
					d, err := follow(p.addr, f.entries, procs)
					if err != nil {
						return err
					}
					took[name] += d
				}
			}
			return nil
		})
		m := measurement{}
		for name, d := range took {
			m[name] = turns * float64(f.entries) / d.Seconds()
		}
		m["follow_ratio"], m["follow_all_ratio"] = m["follow"]/m["raw"], m["follow_all"]/m["raw"]
		return m, err
	}}
}

// follow measures how long the client, with procs of Go's processors, takes to follow
// the log from the first entry to the last.
func follow(addr string, entries, procs int) (time.Duration, error) {
	c, err := client.Dial(context.Background(), addr, client.Options{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	began, n := time.Now(), 0
	for _, err := range c.Follow(context.Background(), 1) {
		if err != nil {
			return 0, err
		}
		if n++; n == entries {
			break
		}
	}
	return time.Since(began), nil
}
