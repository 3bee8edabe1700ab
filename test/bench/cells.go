package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// appendLoads lists the loads of appends: the number of connections, and of appends
// in flight on each.
var appendLoads = [][2]int{{1, 1}, {1, 16}, {16, 1}, {64, 1}, {64, 16}, {256, 16}}

// allCells lists all cells.
func allCells(s settings) []cell {
	cells := []cell{}
	for _, c := range appendLoads {
		cells = append(cells, appendCell(c[0], c[1]))
	}
	small := fill{s.replay, s.entrySize}
	cells = append(cells,
		replayCell("stream", small, 0),
		replayCell("pulls of 1000", small, 1000),
		replayCell("stream of 4 KiB", fill{s.bigReplay, 4096}, 0),
		fanoutCell(200, 100),
		mixedCell(16, 16, 8),
	)
	for _, c := range appendLoads {
		cells = append(cells, fullCell(c[0], c[1], fill{s.ownScale, s.entrySize}))
	}
	cells = append(cells, clientCells(s)...)
	cells = append(cells, settlingCells()...)
	cells = append(cells, safeCells(s)...)
	cells = append(cells, httpCells(s)...)
	cells = append(cells, replicaCells(s)...)
	cells = append(cells, archiveCells(s)...)
	cells = append(cells, largeCells()...)
	cells = append(cells, clusterCells(s)...)
	return append(cells, ownCells(s)...)
}

// selectCells returns the cells whose group, name or group/name matches one of
// the comma-separated patterns.
func selectCells(cells []cell, patterns string) ([]cell, error) {
	var out []cell
	for pattern := range strings.SplitSeq(patterns, ",") {
		found := false
		for _, c := range cells {
			for _, name := range []string{c.group, c.name, c.group + "/" + c.name} {
				if ok, err := path.Match(pattern, name); err != nil {
					return nil, err
				} else if ok {
					found = true
					if !slices.ContainsFunc(out, func(o cell) bool { return o.group == c.group && o.name == c.name }) {
						out = append(out, c)
					}
					break
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no cell is called %q", pattern)
		}
	}
	return out, nil
}

// appendCell is a closed loop of appends to an empty log.
func appendCell(conns, inFlight int) cell {
	return cell{group: "append", name: fmt.Sprintf("%dx%d", conns, inFlight),
		run: func(r *runner, t *target) (m measurement, err error) {
			err = r.withServer(t, nil, func(p *process) error {
				m, err = r.appends(t, p, conns, inFlight)
				return err
			})
			return m, err
		}}
}

// fullCell is appendCell on a large log, right after a restart. This server appends
// to an empty log too, just before.
func fullCell(conns, inFlight int, f fill) cell {
	return cell{group: "full", name: fmt.Sprintf("%dx%d", conns, inFlight), only: []string{"ours", "redis"},
		run: func(r *runner, t *target) (m measurement, err error) {
			dir, err := r.filledDir(t, f)
			if err != nil {
				return nil, err
			}
			var empty measurement
			if t.name == "ours" {
				err = r.withServer(t, nil, func(p *process) error {
					empty, err = r.appends(t, p, conns, inFlight)
					return err
				})
				if err != nil {
					return nil, err
				}
			}
			err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
				m, err = r.appends(t, p, conns, inFlight)
				return err
			})
			if empty != nil && err == nil {
				m["rate_empty"], m["rate_ratio"] = empty["rate"], m["rate"]/empty["rate"]
			}
			return m, err
		}}
}

// appends measures a load of appends against a running server.
func (r *runner) appends(t *target, p *process, conns, inFlight int) (measurement, error) {
	return r.load(p, conns, inFlight, t.writers(r.entrySize))
}

// load measures appends through a given codec.
func (r *runner) load(p *process, conns, inFlight int, appender func(lane int) appender) (measurement, error) {
	var cpu []time.Duration
	load := writerLoad{
		addr: p.addr, conns: conns, inFlight: inFlight,
		warmup: r.warmup, duration: r.duration, appender: appender,
	}
	res, err := load.run(func() { cpu = append(cpu, p.cpu()) })
	if err != nil {
		return nil, err
	}
	if res.appends == 0 {
		return nil, fmt.Errorf("no append was acknowledged within %v", r.duration)
	}
	m := measurement{
		"rate":          res.rate(),
		"generator_cpu": res.cpu.Seconds() / float64(res.appends),
		"server_cpu":    (cpu[1] - cpu[0]).Seconds() / float64(res.appends),
	}
	addLatency(m, &res.latency)
	return m, nil
}

func addLatency(m measurement, h *histogram) {
	m["p50"] = h.quantile(.5).Seconds()
	m["p99"] = h.quantile(.99).Seconds()
	m["p999"] = h.quantile(.999).Seconds()
	m["max"] = time.Duration(h.max).Seconds()
}

// replayCell reads a whole log once, over one connection, after a restart.
func replayCell(name string, f fill, pull int) cell {
	return cell{group: "replay", name: name, run: func(r *runner, t *target) (measurement, error) {
		if pull > 0 && t.noPulls != "" {
			return nil, errors.New(t.noPulls)
		}
		if t.name == "null" {
			return r.replayNull(t, f, pull)
		}
		dir, err := r.filledDir(t, f)
		if err != nil {
			return nil, err
		}
		warmCache(dir)
		var m measurement
		err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
			m, err = replay(t, p, r.replayEntries(t, f), pull)
			return err
		})
		return m, err
	}}
}

// replayNull is replayCell for the null server, which forgets its entries when it
// ends, but is filled in no time.
func (r *runner) replayNull(t *target, f fill, pull int) (m measurement, err error) {
	sized, err := null(f.size)
	if err != nil {
		return nil, err
	}
	err = r.withServer(sized, nil, func(p *process) error {
		if err := fillLog(t, p, f.entries, f.size); err != nil {
			return err
		}
		m, err = replay(t, p, f.entries, pull)
		return err
	})
	return m, err
}

func replay(t *target, p *process, entries, pull int) (measurement, error) {
	load := newReaderLoad(p.addr, 1, entries, func() reader { return t.read(readPlan{pull: pull}) })
	cpu := p.cpu()
	res, err := load.run()
	if err != nil {
		return nil, err
	}
	if res.entries < entries {
		return nil, fmt.Errorf("read %d of %d entries", res.entries, entries)
	}
	n := float64(res.entries)
	return measurement{
		"rate":          n / res.elapsed.Seconds(),
		"bytes_rate":    float64(res.bytes) / res.elapsed.Seconds(),
		"seconds":       res.elapsed.Seconds(),
		"entries":       n,
		"generator_cpu": res.cpu.Seconds() / n,
		"server_cpu":    (p.cpu() - cpu).Seconds() / n,
	}, nil
}

// mixedCell measures writers alone, and then while readers replay the log repeatedly.
func mixedCell(conns, inFlight, readers int) cell {
	const entries = 200_000
	name := fmt.Sprintf("%dx%d writers, %d readers", conns, inFlight, readers)
	return cell{group: "mixed", name: name, noNull: true, run: func(r *runner, t *target) (m measurement, err error) {
		n := r.replayEntries(t, fill{entries, r.entrySize})
		err = r.withServer(t, nil, func(p *process) error {
			if err := fillLog(t, p, n, r.entrySize); err != nil {
				return err
			}
			alone, err := r.appends(t, p, conns, inFlight)
			if err != nil {
				return err
			}
			load := newReaderLoad(p.addr, readers, n, func() reader { return t.read(readPlan{}) })
			load.repeat = true
			type outcome struct {
				res *readerResult
				err error
			}
			ended := make(chan outcome, 1)
			go func() {
				res, err := load.run()
				ended <- outcome{res, err}
			}()
			m, err = r.appends(t, p, conns, inFlight)
			load.stop.Store(true)
			reading := <-ended
			if err != nil {
				return err
			}
			if reading.err != nil {
				return reading.err
			}
			m["rate_alone"] = alone["rate"]
			m["kept"] = m["rate"] / alone["rate"]
			m["read_rate"] = float64(reading.res.entries) / reading.res.elapsed.Seconds()
			return nil
		})
		return m, err
	}}
}
