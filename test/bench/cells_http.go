package main

import "fmt"

// httpCells give this project's server the same work over HTTP and over its protocol, in turns.
func httpCells(s settings) []cell {
	var cells []cell
	add := func(name string, run func(*runner, *target) (measurement, error)) {
		cells = append(cells, cell{group: "http", name: name, only: ownOnly, run: run})
	}
	for _, c := range [][2]int{{1, 1}, {16, 1}} {
		add(fmt.Sprintf("POST of one, %dx%d", c[0], c[1]), httpAppends(c[0], c[1], func(entries source) appender {
			return &postAppender{entries: entries}
		}))
	}
	for _, c := range [][2]int{{1, 16}, {64, 16}} {
		add(fmt.Sprintf("POST of lines, %dx%d", c[0], c[1]), httpAppends(c[0], c[1], func(entries source) appender {
			return &linesAppender{entries: entries}
		}))
	}
	add(fmt.Sprintf("GET of %d entries", s.replay), httpRead(fill{s.replay, s.entrySize}))
	add("200 followers by events, 100 appends/s", httpFanout(200, 100))
	return cells
}

// httpAppends appends to one log in turns. They are short because the speed of a disk changes
// from second to second.
func httpAppends(conns, inFlight int, codec func(source) appender) func(*runner, *target) (measurement, error) {
	const turns = 5
	return func(r *runner, t *target) (m measurement, err error) {
		short := *r
		short.warmup, short.duration = r.warmup/turns, r.duration/turns
		over := *t
		over.appender = func(entries *entrySource, _ int) appender { return codec(entries) }
		err = r.withServerOver(t, startOptions{}, func(p, page *process) error {
			m, err = beside(turns,
				func() (measurement, error) { return short.appends(t, p, conns, inFlight) },
				func() (measurement, error) { return short.appends(&over, page, conns, inFlight) })
			return err
		})
		return m, err
	}
}

// httpRead reads a whole log over one connection.
func httpRead(f fill) func(*runner, *target) (measurement, error) {
	const turns = 3
	return func(r *runner, t *target) (measurement, error) {
		dir, err := r.filledDir(t, f)
		if err != nil {
			return nil, err
		}
		warmCache(dir)
		over := *t
		over.reader = func(plan readPlan) reader { return newHTTPReader(plan) }
		var m measurement
		err = r.withServerOver(t, startOptions{dir: dir}, func(p, page *process) error {
			m, err = beside(turns,
				func() (measurement, error) { return replay(t, p, f.entries, 0) },
				func() (measurement, error) { return replay(&over, page, f.entries, 0) })
			return err
		})
		return m, err
	}
}

// httpFanout appends all entries over the protocol, and follows them over the protocol or by
// server-sent events, each on its own server.
func httpFanout(followers, perSecond int) func(*runner, *target) (measurement, error) {
	return func(r *runner, t *target) (measurement, error) {
		fanout := func(events bool) (m measurement, err error) {
			err = r.withServerOver(t, startOptions{}, func(p, page *process) error {
				load := newReaderLoad(p.addr, followers, 0, func() reader { return t.read(readPlan{follow: true}) })
				if events {
					load.addr, load.reader = page.addr, func() reader { return newHTTPReader(readPlan{follow: true}) }
				}
				m, err = r.fanout(t, p, load, perSecond)
				return err
			})
			return m, err
		}
		return beside(1,
			func() (measurement, error) { return fanout(false) },
			func() (measurement, error) { return fanout(true) })
	}
}

// withServerOver runs work against a server that also serves HTTP: p has the address of its
// protocol, page that of HTTP.
func (r *runner) withServerOver(t *target, o startOptions, work func(p, page *process) error) error {
	run := func(p *process) error {
		page := *p
		page.addr = p.page
		return work(p, &page)
	}
	o.page = true
	if o.dir == "" {
		return r.withFreshServer(t, o, run)
	}
	return r.withServerOn(t, o, run)
}

// beside measures the same work over the protocol and over HTTP in turns, and returns the means
// with HTTP's share of each.
func beside(turns int, protocol, http func() (measurement, error)) (measurement, error) {
	m := make(measurement)
	for range turns {
		for _, way := range []struct {
			suffix  string
			measure func() (measurement, error)
		}{{"_tcp", protocol}, {"", http}} {
			got, err := way.measure()
			if err != nil {
				return nil, err
			}
			for key, v := range got {
				m[key+way.suffix] += v / float64(turns)
			}
		}
	}
	for _, key := range []string{"rate", "server_cpu", "p50"} {
		if v := m[key+"_tcp"]; v > 0 {
			m[key+"_ratio"] = m[key] / v
		}
	}
	return m, nil
}
