package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// safeCells compare writes with conditions, and writes of many entries at once, with plain
// writes to the same log.
func safeCells(s settings) []cell {
	var cells []cell
	add := func(name string, f fill, conns, inFlight int, codec func(lane int, p *process) (*logAppender, error)) {
		cells = append(cells, cell{group: "safe", name: name, only: ownOnly, run: func(r *runner, t *target) (measurement, error) {
			return r.safe(t, f, conns, inFlight, codec)
		}})
	}
	fresh := func(a logAppender) func(int, *process) (*logAppender, error) {
		return func(lane int, _ *process) (*logAppender, error) {
			a := a
			a.entries = newEntrySource(s.entrySize, uint16(lane))
			return &a, nil
		}
	}
	empty, large := fill{}, fill{s.ownScale, s.entrySize}
	once := logAppender{members: `,"once":true`}
	add("if, 1x1", empty, 1, 1, fresh(logAppender{expect: true}))
	add("if, 1x16", empty, 1, 16, fresh(logAppender{expect: true}))
	add("entries, 16x1 of 64", empty, 16, 1, fresh(logAppender{together: 64}))
	add("once, 1x1", empty, 1, 1, fresh(once))
	add("once, 64x16", empty, 64, 16, fresh(once))
	add(fmt.Sprintf("once, 64x16, %d entries before", s.ownScale), large, 64, 16, fresh(once))
	add(fmt.Sprintf("once, 1x1, again, of %d entries", s.ownScale), large, 1, 1, func(_ int, p *process) (*logAppender, error) {
		again, err := readSome(p.addr, s.ownScale)
		return &logAppender{entries: again, members: once.members}, err
	})
	return cells
}

// safe measures plain writes and then those of codec, on a separate log that holds f. The log
// is filled once for all rounds.
func (r *runner) safe(t *target, f fill, conns, inFlight int, codec func(int, *process) (*logAppender, error)) (m measurement, err error) {
	work := func(p *process) error {
		m, err = r.safeLoad(p, conns, inFlight, codec)
		return err
	}
	var plain measurement
	plainWork := func(p *process) error {
		plain, err = r.appends(t, p, conns, inFlight)
		return err
	}
	if f.entries == 0 {
		err = r.withServer(t, nil, plainWork)
	} else {
		var dir string
		if dir, err = r.filledDir(t, f); err != nil {
			return nil, err
		}
		warmCache(dir)
		if err = r.withServerOn(t, startOptions{dir: dir}, plainWork); err == nil {
			err = r.withServerOn(t, startOptions{dir: dir}, work)
		}
	}
	if err == nil && f.entries == 0 {
		err = r.withServer(t, nil, work)
	}
	if err != nil {
		return nil, err
	}
	m["rate_plain"], m["rate_ratio"] = plain["rate"], m["rate"]/plain["rate"]
	return m, nil
}

// safeLoad measures the writes of codec, once the server knows which entries it holds.
func (r *runner) safeLoad(p *process, conns, inFlight int, codec func(int, *process) (*logAppender, error)) (measurement, error) {
	var failed error
	together := 1
	appender := func(int) appender {
		a, err := codec(int(lanes.Add(1)), p)
		if err != nil {
			failed = err
			return &logAppender{entries: newEntrySource(r.entrySize, 0)}
		}
		together = max(1, a.together)
		return a
	}
	// The first write of its kind prepares the server for others: that is not measured.
	first := appender(0).(*logAppender)
	if first.members != "" {
		if err := converseLong(p.addr, first.requests(nil, 1, now())); err != nil {
			return nil, err
		}
	}
	m, err := r.load(p, conns, inFlight, appender)
	if err = firstError(failed, err); err != nil {
		return nil, err
	}
	m["rate"] *= float64(together)
	m["rss"] = p.rss()
	return m, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// converseLong sends a message and waits for an answer as long as indexing a large log
// takes.
func converseLong(addr string, send []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Minute))
	if _, err := c.Write(send); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.Contains(line, `"index":`) {
		err = fmt.Errorf("server said %.200q", line)
	}
	return err
}

// someEntries are entries that a log holds. put appends them in turn.
type someEntries struct {
	entries [][]byte
	next    int
}

func (e *someEntries) put(dst []byte, _ int64) []byte {
	e.next++
	return append(dst, e.entries[e.next%len(e.entries)]...)
}

// readSome reads entries from all parts of a log of the given length.
func readSome(addr string, length int) (*someEntries, error) {
	const count = 5000
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	lines := bufio.NewReaderSize(c, 1<<20)
	e := new(someEntries)
	for n := range count {
		// Visit all parts of the log in scattered order.
		index := 1 + n*7919*(length/count)%length
		if _, err := fmt.Fprintf(c, "{\"from\":%d,\"read\":1}\n", index); err != nil {
			return nil, err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, err
		}
		entry, ok := strings.CutPrefix(line, fmt.Sprintf("%s%d%s", indexHead, index, indexMid))
		if !ok {
			return nil, unexpected("read", []byte(line))
		}
		e.entries = append(e.entries, []byte(strings.TrimSuffix(entry, "}\n")))
		if _, err := lines.ReadString('\n'); err != nil { // the head
			return nil, err
		}
	}
	return e, nil
}
