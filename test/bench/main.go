// Command bench gives this project's server and its peers the same work, on one
// machine in one run, and compares them.
//
// The server and each peer run as whole processes, one at a time, over
// loopback TCP, each with a fresh data folder on disk. One generator drives
// them all; only the bytes of their protocols differ.
//
// Run it in its own folder, on Linux:
//
//	go run .                                     # everything; takes about an hour
//	go run . -cells append -peers redis,null     # some of it
//	go run . -cells append/64x16 -rounds 1 -duration 2s
//	go run . -json out.json -svg out.svg         # keep the results, draw them
//	go run . -chart out.json -svg out.svg        # draw earlier results again
//	go run . -base OLD -cells append             # compare with an earlier build; see make bench-pair
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	settings
	server   string
	base     string
	peers    string
	cells    string
	dir      string
	jsonPath string
	svgPath  string
	chart    string
	list     bool
	null     int
}

func parseFlags() *options {
	o := new(options)
	flag.StringVar(&o.server, "server", "", "server `binary` to measure; default: built from the tree")
	flag.StringVar(&o.base, "base", "", "compare the server with this earlier `binary` of it, in turns, and with nothing else")
	flag.StringVar(&o.peers, "peers", "redis,nats,npm,null", "comma-separated `names` of what to compare with")
	flag.StringVar(&o.cells, "cells", strings.Join(groupNames(), ","), "comma-separated `patterns` of groups, cells or group/cell; see -list")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds; each target runs each cell once a round, medians are reported")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "measured time of a cell")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "time before it")
	flag.IntVar(&o.entrySize, "size", 200, "`bytes` of an entry in canonical form")
	flag.IntVar(&o.replay, "replay", 1_000_000, "entries of the replay cells")
	flag.IntVar(&o.bigReplay, "replay-4k", 100_000, "entries of the replay cell with 4 KiB entries")
	flag.IntVar(&o.ownScale, "scale", 10_000_000, "entries of the cells that show what size costs this server")
	flag.StringVar(&o.dir, "dir", "", "`folder` on a disk for data; default: the system's for temporary files")
	flag.StringVar(&o.jsonPath, "json", "", "write all results to this `file`")
	flag.StringVar(&o.svgPath, "svg", "", "write a chart to this `file`")
	flag.StringVar(&o.chart, "chart", "", "run nothing: make the tables, and -svg, from this results `file`")
	flag.BoolVar(&o.list, "list", false, "list the cells")
	flag.IntVar(&o.null, "null", 0, "be the null server, with entries of so many `bytes`")
	flag.Parse()
	return o
}

func main() {
	// Each of the generator's loops occupies one of Go's processors.
	runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	if err := run(parseFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	switch {
	case o.null > 0:
		return runNullServer(o.null)
	case o.list:
		for _, c := range allCells(o.settings) {
			fmt.Printf("%s/%s\n", c.group, c.name)
		}
		return nil
	case o.chart != "":
		r, err := loadReport(o.chart)
		if err != nil {
			return err
		}
		return o.publish(r)
	}
	if o.rounds < 1 || o.duration <= 0 || o.entrySize < minEntrySize {
		return fmt.Errorf("-rounds and -duration must be positive, -size at least %d", minEntrySize)
	}
	temp, err := o.tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // may take minutes: after publishing
	if o.base != "" {
		return o.pair(temp, os.Stdout)
	}
	r, err := o.measure(temp)
	if err != nil {
		return err
	}
	return o.publish(r)
}

// tempDir returns a new folder for all data, which an interrupt removes.
func (o *options) tempDir() (string, error) {
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return "", err
		}
	}
	temp, err := os.MkdirTemp(o.dir, "tcp-log-server-bench-")
	if err != nil {
		return "", err
	}
	if temp, err = filepath.Abs(temp); err != nil {
		return "", err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		os.RemoveAll(temp) // the servers end with this process
		os.Exit(130)
	}()
	return temp, nil
}

// publish writes a report in all forms that the flags request.
func (o *options) publish(r *report) error {
	writeTables(os.Stdout, r)
	if o.jsonPath != "" {
		if err := r.save(o.jsonPath); err != nil {
			return err
		}
	}
	if o.svgPath != "" {
		return os.WriteFile(o.svgPath, []byte(drawChart(r)), 0o644)
	}
	return nil
}

func (o *options) measure(temp string) (*report, error) {
	cells, err := selectCells(allCells(o.settings), o.cells)
	if err != nil {
		return nil, err
	}
	// Groups run in their order, whatever the order they were asked for in.
	slices.SortStableFunc(cells, func(a, b cell) int {
		order := func(c cell) int {
			return slices.IndexFunc(groups, func(g group) bool { return g.name == c.group })
		}
		return cmp.Compare(order(a), order(b))
	})
	r := &report{
		Date:    time.Now().UTC().Format(time.RFC3339),
		Command: os.Args[1:],
		Settings: map[string]string{
			"duration": o.duration.String(), "warm-up": o.warmup.String(),
			"rounds": fmt.Sprint(o.rounds), "entry size": fmt.Sprint(o.entrySize),
		},
	}
	if r.Machine, err = inspectMachine(temp); err != nil {
		return nil, err
	}
	targets, err := o.targets(r, temp)
	if err != nil {
		return nil, err
	}
	runner := &runner{settings: o.settings, temp: temp, report: r, progress: os.Stderr}
	return r, runner.run(cells, targets)
}

// targets prepares this project's server and the requested peers. A peer that is
// not available is left out and named in the report.
func (o *options) targets(r *report, temp string) ([]*target, error) {
	us, err := ours(o.server, temp)
	if err != nil {
		return nil, err
	}
	targets := []*target{us}
	for _, name := range strings.FieldsFunc(o.peers, func(c rune) bool { return c == ',' }) {
		var t *target
		switch name {
		case "redis":
			t, err = redis()
		case "nats":
			t, err = nats(temp)
		case "npm":
			t, err = original(temp)
		case "null":
			t, err = null(o.entrySize)
		case "none":
			continue
		default:
			return nil, fmt.Errorf("no peer is called %q", name)
		}
		if err != nil {
			r.Missing = append(r.Missing, missingInfo{name, err.Error()})
			continue
		}
		targets = append(targets, t)
	}
	for _, t := range targets {
		r.Targets = append(r.Targets, targetInfo{t.name, t.version, t.settings})
	}
	return targets, nil
}
