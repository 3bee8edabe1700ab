package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are what the flags say about a run.
type settings struct {
	rounds    int
	duration  time.Duration
	warmup    time.Duration
	entrySize int // bytes of an entry, but for those of bigReplay
	replay    int // entries of the replay cells
	bigReplay int // entries of 4 KiB of the replay cells
	ownScale  int // entries of the cells of this server alone
}

// runner runs cells and keeps what they share.
type runner struct {
	settings
	temp     string // holds all data; removed at the end
	report   *report
	progress io.Writer

	filled    map[string]string // data folders by target, for the present fill
	filledFor fill
}

// cell is one kind of work, done by each target in turn.
type cell struct {
	group, name string
	// once is set for cells that take long and vary little.
	once bool
	// only names the targets that take part; nil: all.
	only []string
	// noNull is set for cells in which a server that stores nothing has no
	// part.
	noNull bool
	run    func(r *runner, t *target) (measurement, error)
}

// fill describes a log to read from.
type fill struct{ entries, size int }

// run runs the cells, alternating between the targets in every round, so that
// what changes on the machine over time changes for all of them: in one round in
// their order, in the next in the reverse. What one target has left unwritten is on
// the disk before the next one begins.
func (r *runner) run(cells []cell, targets []*target) error {
	for _, c := range cells {
		result := r.report.cell(c.group, c.name)
		rounds := r.rounds
		if c.once {
			rounds = 1
		}
		turns := slices.Clone(targets)
		for round := range rounds {
			for _, t := range turns {
				if c.only != nil && !slices.Contains(c.only, t.name) || c.noNull && t.name == "null" {
					continue
				}
				tr := result.target(t.name)
				if tr.Error != "" {
					continue
				}
				fmt.Fprintf(r.progress, "%s %s: round %d of %d: %s\n", c.group, c.name, round+1, rounds, t.name)
				syscall.Sync()
				m, err := c.run(r, t)
				if err != nil {
					// A peer that fails a cell is reported and left out of
					// it; the rest of the run is still of use.
					tr.Error, _, _ = strings.Cut(err.Error(), serverLogMark)
					fmt.Fprintf(r.progress, "  failed: %v\n", err)
					continue
				}
				tr.Rounds = append(tr.Rounds, m)
			}
			slices.Reverse(turns)
		}
		result.summarize()
	}
	r.dropFilled()
	return nil
}

// withServer runs work against a server with a fresh data folder.
func (r *runner) withServer(t *target, env []string, work func(p *process) error) error {
	dir, err := os.MkdirTemp(r.temp, t.name+"-")
	if err != nil {
		return err
	}
	defer removeData(dir)
	return r.withServerOn(t, startOptions{dir: dir, env: env}, work)
}

// withServerOn starts a server, runs work and stops the server.
func (r *runner) withServerOn(t *target, o startOptions, work func(p *process) error) error {
	p, err := t.start(o)
	if err != nil {
		return err
	}
	if err := work(p); err != nil {
		p.kill()
		return fmt.Errorf("%w%s%s", err, serverLogMark, lastLines(serverLog(o.dir)))
	}
	return p.stop()
}

// removeData frees the space of a data folder. Its small files stay until the
// run's end: ext4 does not reuse an inode for minutes after its file was
// deleted, and passes over each such inode whenever it looks for a free one, so
// that what one cell deletes would slow down the next.
func removeData(dir string) {
	const small = 64 << 10
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Size() > small {
			os.Remove(path)
		}
		return nil
	})
}

// filledDir is a data folder holding a filled log. It is kept for the rounds
// of cells in a row that want the same.
func (r *runner) filledDir(t *target, f fill) (string, error) {
	if f != r.filledFor {
		r.dropFilled()
		r.filledFor = f
		r.filled = make(map[string]string)
	}
	if dir, ok := r.filled[t.name]; ok {
		return dir, nil
	}
	dir, err := os.MkdirTemp(r.temp, t.name+"-")
	if err != nil {
		return "", err
	}
	r.filled[t.name] = dir
	fmt.Fprintf(r.progress, "  filling %s with %d entries of %d bytes\n", t.name, r.replayEntries(t, f), f.size)
	err = r.withServerOn(t, startOptions{dir: dir, filling: true}, func(p *process) error {
		return fillLog(t, p, r.replayEntries(t, f), f.size)
	})
	return dir, err
}

// replayEntries is how many entries a target is filled with.
func (r *runner) replayEntries(t *target, f fill) int {
	if t.maxReplay > 0 {
		return min(f.entries, t.maxReplay)
	}
	return f.entries
}

func (r *runner) dropFilled() {
	for _, dir := range r.filled {
		removeData(dir)
	}
	r.filled, r.filledFor = nil, fill{}
}

// fillLog appends entries as fast as the server takes them.
func fillLog(t *target, p *process, entries, size int) error {
	_, err := writerLoad{
		addr: p.addr, conns: 16, inFlight: 256, total: entries, appender: t.writers(size),
	}.run(nil)
	return err
}

// warmCache reads all files of a folder, so that they are in the page cache.
func warmCache(dir string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if f, err := os.Open(path); err == nil {
				io.Copy(io.Discard, f)
				f.Close()
			}
		}
		return nil
	})
}

// serverLogMark is what comes between an error and the server's log.
const serverLogMark = "; server log: "
