package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// target is a kind of server to measure.
type target struct {
	name     string
	version  string
	settings string
	// maxReplay bounds the entries of the replay cells for a server that takes
	// many minutes to fill; 0: no bound.
	maxReplay int
	// noPulls says why the server cannot be read by pulls, and is empty if it can.
	noPulls string

	cluster *target // the same on three servers, nil if that is not measured

	start    func(options startOptions) (*process, error)
	appender func(entries *entrySource, lane int) appender
	reader   func(plan readPlan) reader
}

// startOptions say how to start a server.
type startOptions struct {
	dir string // its data
	// filling allows a peer not to sync each append, so that it is filled faster
	// for the reading cells. It is restarted without it before it is measured.
	filling bool
	env     []string
	args    []string // of this project's server
	page    bool     // serve HTTP too; only this project's server can
	idle    bool     // this project's server takes only the processor time that others leave
}

// lanes numbers the connections of a run, so that all entries differ.
var lanes atomic.Int64

// writers returns a load of entries of one size for this target.
func (t *target) writers(entrySize int) func(int) appender {
	return func(int) appender {
		lane := int(lanes.Add(1))
		return t.appender(newEntrySource(entrySize, uint16(lane)), lane)
	}
}

func (t *target) read(plan readPlan) reader {
	plan.lane = int(lanes.Add(1))
	return t.reader(plan)
}

func serverLog(dir string) string { return filepath.Clean(dir) + ".log" }

// logTarget is a server of this project's protocol started from a binary.
func logTarget(name, version, settings string, command func() *exec.Cmd) *target {
	return &target{
		name: name, version: version, settings: settings,
		start: func(o startOptions) (*process, error) {
			cmd := command()
			if o.idle {
				cmd = exec.Command("nice", "-n", "19", cmd.Path)
			}
			cmd.Args = append(cmd.Args, o.args...)
			cmd.Env = append(os.Environ(), "PORT=0", "HOST=127.0.0.1", "DATA="+o.dir)
			cmd.Env = append(cmd.Env, o.env...)
			if o.page {
				cmd.Env = append(cmd.Env, "HTTP=127.0.0.1:0")
			}
			return startListening(cmd, serverLog(o.dir), o.page)
		},
		appender: func(entries *entrySource, lane int) appender { return &logAppender{entries: entries} },
		reader:   func(plan readPlan) reader { return newLogReader(plan, false) },
	}
}

// ours is this project's server, built from the parent directory unless a
// binary is given.
func ours(binary, temp string) (*target, error) {
	if binary == "" {
		binary = filepath.Join(temp, "tcp-log-server")
		if err := build(binary); err != nil {
			return nil, err
		}
	}
	version := "unknown"
	describe := exec.Command("git", "describe", "--always", "--dirty", "--tags")
	if out, err := describe.Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	t := logTarget("ours", version, "defaults: every append synced before its reply",
		func() *exec.Cmd { return exec.Command(binary) })
	t.cluster = clusterOf(t)
	return t, nil
}

// build builds this project's server.
func build(binary string, flags ...string) error {
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", binary}, flags, []string{"."})...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in ..: %w\n%s", err, out)
	}
	return nil
}

// null is the null server: this binary in another mode.
func null(entrySize int) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return logTarget("null", "", "acknowledges without parsing or storing: the generator's own ceiling",
		func() *exec.Cmd { return exec.Command(self, "-null", fmt.Sprint(entrySize)) }), nil
}

// redis is Redis's stream type with every append synced.
func redis() (*target, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("no redis-server; Debian: apt-get install redis-server")
	}
	version := "unknown"
	if out, err := exec.Command(path, "--version").Output(); err == nil {
		for _, word := range strings.Fields(string(out)) {
			if v, ok := strings.CutPrefix(word, "v="); ok {
				version = v
			}
		}
	}
	t := &target{
		name: "redis", version: version,
		settings: "stream, XADD; appendonly yes, appendfsync always, save \"\", no AOF rewrites during a cell",
	}
	t.start = func(o startOptions) (*process, error) {
		port, err := heldPort()
		if err != nil {
			return nil, err
		}
		sync := "always"
		if o.filling {
			sync = "everysec"
		}
		p, err := startProcess(exec.Command(path, "--port", port, "--bind", "127.0.0.1",
			"--dir", o.dir, "--appendonly", "yes", "--appendfsync", sync, "--save", "",
			"--auto-aof-rewrite-percentage", "0"), serverLog(o.dir))
		if err != nil {
			return nil, err
		}
		p.addr = "127.0.0.1:" + port
		return p, p.awaitReady(startLimit, func() error {
			return converse(p.addr, respCommand(nil, "PING"), "+PONG\r\n")
		})
	}
	t.appender = func(entries *entrySource, lane int) appender { return newRespAppender(entries) }
	t.reader = func(plan readPlan) reader { return newRespReader(plan) }
	return t, nil
}

// converse sends a message on a new connection and waits for an answer that
// contains the expected text.
func converse(addr string, send []byte, expect string) error {
	fd, err := dialRaw(addr)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	// One write, one read: the answers are short.
	if _, err := syscall.Write(fd, send); err != nil {
		return err
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for range 8 {
		n, err := syscall.Read(fd, buf)
		if err != nil {
			return err
		}
		got.Write(buf[:n])
		if strings.Contains(got.String(), expect) {
			return nil
		}
		if n == 0 || got.Len() > 0 && got.String()[0] == '-' {
			break
		}
	}
	return fmt.Errorf("server said %.200q", got.String())
}
