package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// archiveCells run this project's server with an archive in a directory.
func archiveCells(s settings) []cell {
	cells := []cell{{group: "archive", name: "rate", only: ownOnly,
		run: func(r *runner, t *target) (measurement, error) { return r.archiveRate(t, fill{s.replay, s.entrySize}) }}}
	for _, c := range [][2]int{{64, 1}, {64, 16}} {
		cells = append(cells, cell{group: "archive", name: fmt.Sprintf("append-%dx%d", c[0], c[1]), only: ownOnly,
			run: func(r *runner, t *target) (measurement, error) { return r.archivedAppends(t, c[0], c[1]) }})
	}
	return cells
}

// newArchive makes a directory for an archive, which the caller removes, and returns the settings
// for a server to archive there.
func (r *runner) newArchive(rate string) (dir string, env []string, err error) {
	if dir, err = os.MkdirTemp(r.temp, "archive-"); err != nil {
		return "", nil, err
	}
	env = []string{"ARCHIVE=file://" + filepath.ToSlash(dir), "ARCHIVE_EVERY=1s"}
	if rate != "" {
		env = append(env, "ARCHIVE_RATE="+rate)
	}
	return dir, env, nil
}

// archiveRate measures how fast a server archives an existing, settled log.
func (r *runner) archiveRate(t *target, f fill) (m measurement, err error) {
	data, err := r.filledDir(t, f)
	if err != nil {
		return nil, err
	}
	settled := func(s archiveStat) bool { return s.Unsettled == 0 }
	err = r.withServerOn(t, startOptions{dir: data}, func(p *process) error {
		_, _, _, err := awaitStat(p, settled)
		return err
	})
	if err != nil {
		return nil, err
	}
	warmCache(data)
	dir, env, err := r.newArchive("1TiB")
	if err != nil {
		return nil, err
	}
	defer removeData(dir)
	err = r.withServerOn(t, startOptions{dir: data, env: env}, func(p *process) error {
		cpu := p.cpu()
		first, last, took, err := awaitStat(p, func(s archiveStat) bool { return s.Archive.Through >= uint64(f.entries) })
		if err != nil {
			return err
		}
		entries := float64(last.Archive.Through - first.Archive.Through)
		if entries == 0 {
			return fmt.Errorf("%d entries are too few: they were archived before the first look", f.entries)
		}
		m = measurement{
			"rate":       entries / took.Seconds(),
			"bytes_rate": float64(last.Archive.Uploaded-first.Archive.Uploaded) / took.Seconds(),
			"server_cpu": (p.cpu() - cpu).Seconds() / entries,
		}
		return nil
	})
	return m, err
}

// archiveStat is the part of a server's status that the cells use.
type archiveStat struct {
	Unsettled uint64
	Archive   struct {
		Through  uint64
		Uploaded int64
		Error    string
	}
}

// awaitStat polls the status until want accepts it. It returns the first status, the last, and the
// time between them.
func awaitStat(p *process, want func(s archiveStat) bool) (first, last archiveStat, took time.Duration, err error) {
	status, err := watchStat(p)
	if err != nil {
		return first, last, 0, err
	}
	defer status.close()
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		text, err := status.ask()
		if err != nil {
			return first, last, 0, err
		}
		took = time.Since(began)
		var answer struct{ Stat archiveStat }
		if err := json.Unmarshal(text, &answer); err != nil {
			return first, last, 0, err
		}
		if last = answer.Stat; first == (archiveStat{}) {
			first, began = last, time.Now()
		}
		switch {
		case last.Archive.Error != "":
			return first, last, took, fmt.Errorf("archiving fails: %s", last.Archive.Error)
		case want(last):
			return first, last, took, nil
		case took > startLimit:
			return first, last, took, fmt.Errorf("after %v stat still says %+v", startLimit, last)
		}
	}
}

// archivedAppends appends to a server without an archive, and then to one that archives each second
// at the default rate.
func (r *runner) archivedAppends(t *target, conns, inFlight int) (measurement, error) {
	dir, env, err := r.newArchive("")
	if err != nil {
		return nil, err
	}
	defer removeData(dir)
	var with, alone measurement
	for _, way := range []struct {
		env []string
		m   *measurement
	}{{nil, &alone}, {env, &with}} {
		err := r.withServer(t, way.env, func(p *process) (err error) {
			*way.m, err = r.appends(t, p, conns, inFlight)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	with["rate_alone"], with["rate_ratio"], with["p99_alone"] = alone["rate"], with["rate"]/alone["rate"], alone["p99"]
	return with, nil
}
