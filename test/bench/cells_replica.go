package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// replicaCells run a source and a replica of it on one machine.
func replicaCells(s settings) []cell {
	cells := []cell{{group: "replica", name: fmt.Sprintf("catchup, %d entries", s.replay), only: ownOnly,
		run: func(r *runner, t *target) (measurement, error) { return r.catchUp(t, fill{s.replay, s.entrySize}) }}}
	for _, c := range [][2]int{{16, 1}, {64, 16}} {
		cells = append(cells, cell{group: "replica", name: fmt.Sprintf("lag, %dx%d", c[0], c[1]), only: ownOnly,
			run: func(r *runner, t *target) (measurement, error) { return r.replicaLag(t, c[0], c[1]) }})
	}
	return cells
}

// memory is a directory in memory, if the system has one.
const memory = "/dev/shm"

// withReplica starts a replica of p in a new directory, runs work and stops the replica. With apart,
// the replica takes as little from p as is possible on one machine, as if it were on another: its log
// is in memory, and it gets only the processor time that others leave.
func (r *runner) withReplica(t *target, p *process, apart bool, work func(*process) error) error {
	parent := r.temp
	if _, err := os.Stat(memory); err == nil && apart {
		parent = memory
	}
	dir, err := os.MkdirTemp(parent, "replica-")
	if err != nil {
		return err
	}
	defer func() {
		if removeData(dir); parent == memory {
			os.RemoveAll(dir)
			os.Remove(serverLog(dir))
		}
	}()
	return r.withServerOn(t, startOptions{dir: dir, args: []string{"replica", p.addr, "--name", "bench"}, idle: apart}, work)
}

// catchUp replays a log, and then has an empty replica follow it.
func (r *runner) catchUp(t *target, f fill) (m measurement, err error) {
	dir, err := r.filledDir(t, f)
	if err != nil {
		return nil, err
	}
	warmCache(dir)
	err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
		plain, err := replay(t, p, f.entries, 0)
		if err != nil {
			return err
		}
		began := time.Now()
		return r.withReplica(t, p, false, func(copied *process) error {
			heads, err := watchStat(copied)
			if err != nil {
				return err
			}
			defer heads.close()
			for head := uint64(0); head < uint64(f.entries); {
				if head, err = heads.head(); err != nil {
					return err
				}
				time.Sleep(5 * time.Millisecond)
			}
			rate := float64(f.entries) / time.Since(began).Seconds()
			m = measurement{"rate": rate, "rate_replay": plain["rate"], "rate_ratio": rate / plain["rate"], "server_cpu": copied.cpu().Seconds() / float64(f.entries)}
			return nil
		})
	})
	return m, err
}

// lagEvery is the interval between two checks of a replica's lag.
const lagEvery = 10 * time.Millisecond

// replicaLag appends to a source without a replica, and then with one that is apart, and measures
// its lag.
func (r *runner) replicaLag(t *target, conns, inFlight int) (m measurement, err error) {
	var alone measurement
	err = r.withServer(t, nil, func(p *process) error {
		alone, err = r.appends(t, p, conns, inFlight)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.withServer(t, nil, func(p *process) error {
		return r.withReplica(t, p, true, func(copied *process) error {
			lag := &lagWatch{stop: make(chan struct{}), done: make(chan error, 1)}
			go func() { lag.done <- lag.watch(p, copied) }()
			m, err = r.appends(t, p, conns, inFlight)
			close(lag.stop)
			if err = firstError(err, <-lag.done); err != nil {
				return err
			}
			if lag.times.total == 0 {
				return fmt.Errorf("the replica never had what the source had within %v", r.duration)
			}
			m["behind_p50"], m["behind_p99"] = float64(lag.entries.quantile(.5)), float64(lag.entries.quantile(.99))
			m["lag_p50"], m["lag_p99"] = lag.times.quantile(.5).Seconds(), lag.times.quantile(.99).Seconds()
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	m["rate_alone"], m["rate_ratio"] = alone["rate"], m["rate"]/alone["rate"]
	m["source_cpu"], m["source_cpu_alone"] = m["server_cpu"], alone["server_cpu"]
	delete(m, "server_cpu")
	return m, nil
}

// lagWatch measures a replica's lag: the number of entries, counted as nanoseconds, and the time
// until it has the entries that the source had.
type lagWatch struct {
	entries, times histogram
	stop           chan struct{}
	done           chan error
}

func (l *lagWatch) watch(source, copied *process) error {
	from, err := watchStat(source)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := watchStat(copied)
	if err != nil {
		return err
	}
	defer to.close()
	for {
		select {
		case <-l.stop:
			return nil
		case <-time.After(lagEvery):
		}
		head, err := from.head()
		if err != nil {
			return err
		}
		began, first := time.Now(), true
		for {
			had, err := to.head()
			if err != nil {
				return err
			}
			if first {
				l.entries.record(int64(head - min(had, head)))
				first = false
			}
			if had >= head {
				l.times.record(int64(time.Since(began)))
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
}

// statWatch asks a server for its status, over one connection.
type statWatch struct {
	nc net.Conn
	in *bufio.Reader
}

func watchStat(p *process) (*statWatch, error) {
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return &statWatch{nc, bufio.NewReader(nc)}, nil
}

// ask returns the answer, {"stat":{…}}.
func (w *statWatch) ask() ([]byte, error) {
	if _, err := io.WriteString(w.nc, "{\"stat\":true}\n"); err != nil {
		return nil, err
	}
	return w.in.ReadBytes('\n')
}

func (w *statWatch) head() (uint64, error) {
	line, err := w.ask()
	if err != nil {
		return 0, err
	}
	var s struct{ Stat struct{ Head uint64 } }
	return s.Stat.Head, json.Unmarshal(line, &s)
}

func (w *statWatch) close() { w.nc.Close() }
