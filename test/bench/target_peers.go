package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// startLimit is how long a server may take to load its data and serve.
const startLimit = 5 * time.Minute

// nats is NATS JetStream with file storage and every message synced. Its
// server is built at the version that go.mod names as a tool.
func nats(temp string) (*target, error) {
	const module = "github.com/nats-io/nats-server/v2"
	binary := filepath.Join(temp, "nats-server")
	if out, err := exec.Command("go", "build", "-o", binary, module).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("nats-server does not build (go mod download in bench/): %w\n%.500s", err, out)
	}
	version := "unknown"
	if out, err := exec.Command(binary, "--version").Output(); err == nil {
		_, v, _ := strings.Cut(strings.TrimSpace(string(out)), ": v")
		version = v
	}
	t := &target{
		name: "nats", version: version,
		settings: "JetStream, file storage, sync_interval: always, 1 replica",
	}
	t.start = func(o startOptions) (*process, error) { return startNATS(binary, o) }
	t.appender = func(entries *entrySource, lane int) appender { return newNATSAppender(entries, lane) }
	t.reader = func(plan readPlan) reader { return newNATSReader(plan) }
	three := *t
	three.start = func(o startOptions) (*process, error) { return startNATSCluster(binary, o) }
	t.cluster = &three
	return t, nil
}

// startNATS starts one server, with a stream of one replica.
func startNATS(binary string, o startOptions) (*process, error) {
	sync := "always"
	if o.filling {
		sync = "2m" // the default
	}
	p, err := startNATSServer(binary, o.dir, sync, "")
	if err != nil {
		return nil, err
	}
	// Creating the stream again with the same settings succeeds.
	hello, _ := natsHello(0)
	create := natsPublish(hello, "$JS.API.STREAM.CREATE.s", "_A.0",
		`{"name":"s","subjects":["s"],"storage":"file","num_replicas":1}`)
	return p, p.awaitReady(startLimit, func() error {
		return converse(p.addr, create, `"state":`)
	})
}

// startNATSServer starts a server that keeps its streams in dir, with sync as the interval of its syncs. more
// is added to its settings.
func startNATSServer(binary, dir, sync, more string) (*process, error) {
	port, err := heldPort()
	if err != nil {
		return nil, err
	}
	config := filepath.Clean(dir) + ".conf"
	text := fmt.Sprintf("listen: 127.0.0.1:%s\njetstream { store_dir: %q, max_file_store: 100GB, max_memory_store: 1GB, sync_interval: %s }\n%s",
		port, dir, sync, more)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := startProcess(exec.Command(binary, "-c", config), serverLog(dir))
	if err == nil {
		p.addr = "127.0.0.1:" + port
	}
	return p, err
}

// original is the npm package that this project's protocol comes from. It does not
// sync, and it writes one file per entry. With the versions of its dependencies that
// npm installs, it sends entries that were appended before a read began without
// their index, so its readers can only count them.
func original(temp string) (*target, error) {
	const version = "10"
	dir := filepath.Join(temp, "npm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// encoding-down is a development dependency that its memory mode needs.
	install := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund",
		"--prefix", dir, "tcp-log-server@"+version, "encoding-down@6")
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm install tcp-log-server@%s: %w (Debian: apt-get install nodejs npm)\n%.500s", version, err, out)
	}
	script := filepath.Join(dir, "node_modules", "tcp-log-server", "server.js")
	t := &target{
		name: "npm", version: version,
		settings:  "LEVELDOWN and BLOBS in directories; nothing is synced; replay is of 20 000 entries",
		maxReplay: 20_000,
		noPulls:   "its bounded reads of older entries never end, for want of the index",
	}
	// If the package's native LevelDB does not load, its index is in memory and
	// only the entries are on disk.
	probe := exec.Command("node", "-e", "require('leveldown')")
	probe.Dir = dir
	inMemory := probe.Run() != nil
	if inMemory {
		t.settings = "LEVELDOWN=memory (native leveldown does not load), BLOBS in a directory; nothing is synced; replay is of 20 000 entries"
	}
	t.start = func(o startOptions) (*process, error) {
		port, err := heldPort() // PORT=0 means its default port
		if err != nil {
			return nil, err
		}
		level := filepath.Join(o.dir, "level")
		if inMemory {
			level = "memory"
		}
		cmd := exec.Command("node", script)
		cmd.Env = append(os.Environ(), "PORT="+port,
			"LEVELDOWN="+level, "BLOBS="+filepath.Join(o.dir, "blobs"))
		return startListening(cmd, serverLog(o.dir), false)
	}
	t.appender = func(entries *entrySource, lane int) appender { return &logAppender{entries: entries} }
	t.reader = func(plan readPlan) reader { return newLogReader(plan, true) }
	return t, nil
}
