package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"tcp-log-server/client"
)

// clientCells hold the Go client against the raw generator: the same server, the
// same entries, as many connections, and as many appends in flight on each.
func clientCells(s settings) []cell {
	var cells []cell
	for _, c := range [][2]int{{1, 1}, {1, 16}, {16, 1}, {64, 1}, {64, 16}} {
		cells = append(cells, clientAppends(c[0], c[1]))
	}
	return append(cells, clientReplay(fill{s.replay, s.entrySize}))
}

// clientAppends appends by the raw generator, by AppendAsync, and by Append with a
// goroutine for each append in flight, each to an empty log.
func clientAppends(conns, inFlight int) cell {
	return cell{group: "client", name: fmt.Sprintf("append %dx%d", conns, inFlight), only: ownOnly,
		run: func(r *runner, t *target) (measurement, error) {
			m := measurement{}
			err := r.withServer(t, nil, func(p *process) error {
				raw, err := r.appends(t, p, conns, inFlight)
				m["raw"] = raw["rate"]
				return err
			})
			for _, way := range []struct {
				name string
				load func(c *client.Client, lane, inFlight int, l *clientLoad)
			}{{"async", appendAsync}, {"append", appendEach}} {
				if err != nil {
					return nil, err
				}
				err = r.withServer(t, nil, func(p *process) error {
					l := &clientLoad{size: r.entrySize, warmup: r.warmup, duration: r.duration}
					m[way.name], err = l.run(p.addr, conns, inFlight, way.load)
					return err
				})
				m[way.name+"_ratio"] = m[way.name] / m["raw"]
			}
			return m, err
		}}
}

// clientLoad is a load by clients of the client package.
type clientLoad struct {
	size             int
	warmup, duration time.Duration

	begin, end time.Time
	mu         sync.Mutex
	counted    int
	err        error
}

// run measures the appends a second that are acknowledged within the measured time.
func (l *clientLoad) run(addr string, conns, inFlight int, load func(*client.Client, int, int, *clientLoad)) (float64, error) {
	// As a program has it that uses the client.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	var running sync.WaitGroup
	clients := make([]*client.Client, conns)
	for i := range clients {
		c, err := client.Dial(context.Background(), addr, client.Options{})
		if err != nil {
			return 0, err
		}
		defer c.Close()
		clients[i] = c
	}
	l.begin = time.Now().Add(l.warmup)
	l.end = l.begin.Add(l.duration)
	for i, c := range clients {
		running.Go(func() { load(c, i, inFlight, l) })
	}
	running.Wait()
	return float64(l.counted) / l.duration.Seconds(), l.err
}

// add adds what one goroutine has counted.
func (l *clientLoad) add(n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted += n
	if l.err == nil {
		l.err = err
	}
}

// appendAsync keeps so many appends in flight by one goroutine.
func appendAsync(c *client.Client, lane, inFlight int, l *clientLoad) {
	source := newEntrySource(l.size, uint16(lane))
	places := make(chan struct{}, inFlight)
	counted := 0 // of the goroutine that reads the answers, until all places are back
	var failed error
	done := func(_ uint64, err error) {
		if t := time.Now(); err == nil && t.After(l.begin) && t.Before(l.end) {
			counted++
		}
		if err != nil {
			failed = err
		}
		<-places
	}
	var entry []byte
	var err error
	for err == nil && time.Now().Before(l.end) {
		places <- struct{}{}
		entry = source.put(entry[:0], 0)
		if err = c.AppendAsync(context.Background(), entry, done); err != nil {
			<-places
		}
	}
	for range inFlight {
		places <- struct{}{}
	}
	if err == nil {
		err = failed
	}
	l.add(counted, err)
}

// appendEach keeps so many appends in flight by as many goroutines.
func appendEach(c *client.Client, lane, inFlight int, l *clientLoad) {
	var running sync.WaitGroup
	for i := range inFlight {
		running.Go(func() {
			source := newEntrySource(l.size, uint16(lane*inFlight+i))
			var entry []byte
			counted := 0
			for {
				entry = source.put(entry[:0], 0)
				_, err := c.Append(context.Background(), entry)
				t := time.Now()
				if err == nil && t.After(l.begin) && t.Before(l.end) {
					counted++
				}
				if err != nil || !t.Before(l.end) {
					l.add(counted, err)
					return
				}
			}
		})
	}
	running.Wait()
}

// clientReplay reads a whole log by the raw generator and by Follow.
func clientReplay(f fill) cell {
	return cell{group: "client", name: "follow", only: ownOnly, run: func(r *runner, t *target) (measurement, error) {
		dir, err := r.filledDir(t, f)
		if err != nil {
			return nil, err
		}
		warmCache(dir)
		m := measurement{}
		err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
			raw, err := replay(t, p, f.entries, 0)
			m["raw"] = raw["rate"]
			return err
		})
		if err != nil {
			return nil, err
		}
		err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
			c, err := client.Dial(context.Background(), p.addr, client.Options{})
			if err != nil {
				return err
			}
			defer c.Close()
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
			began, n := time.Now(), 0
			for _, err := range c.Follow(context.Background(), 1) {
				if err != nil {
					return err
				}
				if n++; n == f.entries {
					break
				}
			}
			m["follow"] = float64(n) / time.Since(began).Seconds()
			m["follow_ratio"] = m["follow"] / m["raw"]
			return nil
		})
		return m, err
	}}
}
