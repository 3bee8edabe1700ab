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

// settings are the settings of a run.
type settings struct {
	rounds    int
	duration  time.Duration
	warmup    time.Duration
	entrySize int // bytes of an entry, except those of bigReplay
	replay    int // entries of the replay cells
	bigReplay int // entries of 4 KiB of the replay cells
	ownScale  int // entries of the cells of this server alone
}

// runner runs cells and holds their shared state.
type runner struct {
	settings
	temp     string // holds all data; removed at the end
	report   *report
	progress io.Writer
	// again repeats a failed round a few times: a disk that stalls must not end a cell.
	again bool

	filled    map[string]string // data folders by target, for the current fill
	filledFor fill
}

// cell is one kind of work, done by each target in turn.
type cell struct {
	group, name string
	// once is set for cells that take long and vary little.
	once bool
	// only names the targets that take part; nil: all.
	only []string
	// noNull is set for cells that a server that stores nothing cannot run.
	noNull bool
	run    func(r *runner, t *target) (measurement, error)
}

// fill describes a log to read from.
type fill struct{ entries, size int }

// run runs the cells. In every round the targets take turns, so that changes of the
// machine affect all of them: in one round in their order, in the next in reverse.
// Before the next target begins, everything that the last one wrote is synced.
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
				for n := 0; err != nil && r.again && n < 3; n++ {
					m, err = c.run(r, t)
				}
				if err != nil {
					// A peer that fails a cell is reported and left out of
					// it. The rest of the run is still useful.
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
	return r.withFreshServer(t, startOptions{env: env}, work)
}

// withFreshServer is withServer, with options in which the folder is not set.
func (r *runner) withFreshServer(t *target, o startOptions, work func(p *process) error) (err error) {
	if o.dir, err = os.MkdirTemp(r.temp, t.name+"-"); err != nil {
		return err
	}
	defer removeData(o.dir)
	return r.withServerOn(t, o, work)
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

// removeData frees the space of a data folder. Its small files stay until the end
// of the run: ext4 does not reuse an inode for minutes after its file was deleted,
// and skips each such inode whenever it looks for a free one, so that the files
// that one cell deletes would slow down the next.
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

// filledDir returns a data folder with a filled log. It is kept for the rounds of
// consecutive cells that need the same.
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

// replayEntries returns how many entries a target is filled with.
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

// serverLogMark separates an error from the server's log.
const serverLogMark = "; server log: "
