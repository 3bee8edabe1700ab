package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// ownOnly is the value of cell.only for cells that run this project's server alone.
var ownOnly = []string{"ours"}

// ownCells run this project's server alone. They show the costs of a large log and
// the effect of settings.
func ownCells(s settings) []cell {
	own := func(name string, once bool, run func(*runner, *target) (measurement, error)) cell {
		return cell{group: "own", name: name, once: once, only: ownOnly, run: run}
	}
	packed := []string{"LOOSE_MAX=0"}
	const diskEntries = 1_000_000
	return []cell{
		own("64x16 into an empty log", false, ownAppends(nil)),
		own("64x16 into an empty log, LOOSE_MAX=0", false, ownAppends(packed)),
		own(fmt.Sprintf("disk, %d entries", diskEntries), true, ownDisk(diskEntries, nil)),
		own(fmt.Sprintf("disk, %d entries, LOOSE_MAX=0", diskEntries), true, ownDisk(diskEntries, packed)),
		own(fmt.Sprintf("%d entries, after a clean stop", s.ownScale), true, ownStart(s.ownScale, false)),
		own(fmt.Sprintf("%d entries, after kill -9", s.ownScale), true, ownStart(s.ownScale, true)),
	}
}

func ownAppends(env []string) func(*runner, *target) (measurement, error) {
	return func(r *runner, t *target) (m measurement, err error) {
		err = r.withServer(t, env, func(p *process) error {
			m, err = r.appends(t, p, 64, 16)
			return err
		})
		return m, err
	}
}

// ownDisk fills a log, stops the server and measures the log's size on disk.
func ownDisk(entries int, env []string) func(*runner, *target) (measurement, error) {
	return func(r *runner, t *target) (measurement, error) {
		dir, err := os.MkdirTemp(r.temp, t.name+"-")
		if err != nil {
			return nil, err
		}
		defer removeData(dir)
		err = r.withServerOn(t, startOptions{dir: dir, env: env}, func(p *process) error {
			return fillLog(t, p, entries, r.entrySize)
		})
		if err != nil {
			return nil, err
		}
		// Blocks with delayed allocation do not count as used.
		syscall.Sync()
		return measurement{"disk": float64(diskUse(dir)) / float64(entries)}, nil
	}
}

// ownStart measures the time from exec to the first reply with many entries in
// the log, then memory and appends. The folder is filled once for both of its
// cells.
func ownStart(entries int, crash bool) func(*runner, *target) (measurement, error) {
	return func(r *runner, t *target) (measurement, error) {
		dir, err := r.filledDir(t, fill{entries, r.entrySize})
		if err != nil {
			return nil, err
		}
		if crash {
			if err := r.crash(t, dir); err != nil {
				return nil, err
			}
		}
		warmCache(dir)
		m := make(measurement)
		begin := now()
		err = r.withServerOn(t, startOptions{dir: dir}, func(p *process) error {
			ask := fmt.Appendf(nil, "{\"from\":%d,\"read\":1}\n", entries)
			if err := converse(p.addr, ask, fmt.Sprintf(`"index":%d`, entries)); err != nil {
				return err
			}
			m["start"] = time.Duration(now() - begin).Seconds()
			m["rss"] = p.rss()
			appends, err := r.appends(t, p, 64, 16)
			for k, v := range appends {
				m[k] = v
			}
			return err
		})
		return m, err
	}
}

// crash kills a server during appends.
func (r *runner) crash(t *target, dir string) error {
	p, err := t.start(startOptions{dir: dir})
	if err != nil {
		return err
	}
	time.AfterFunc(2*time.Second, func() { p.cmd.Process.Kill() })
	load := writerLoad{
		addr: p.addr, conns: 64, inFlight: 16, duration: time.Minute, appender: t.writers(r.entrySize),
	}
	// The load ends with an error, since its server is killed.
	if _, err := load.run(nil); err == nil {
		return fmt.Errorf("server outlived SIGKILL")
	}
	<-p.done
	return nil
}
