package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// machineInfo describes the machine of a run.
type machineInfo struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Filesystem string  `json:"filesystem"`
	Sync250    syncs   `json:"fdatasync_250_bytes"`
	Sync20k    syncs   `json:"fdatasync_20_kb"`
	Loopback   float64 `json:"loopback_bytes_per_s"`
}

// syncs are latencies, in seconds, of appending to a file and fdatasync.
type syncs struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func inspectMachine(dir string) (m machineInfo, err error) {
	m.CPU, m.Cores, m.Go = cpuModel(), runtime.NumCPU(), runtime.Version()
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	m.Filesystem = filesystemOf(dir)
	if m.Filesystem == "tmpfs" || m.Filesystem == "ramfs" {
		return m, fmt.Errorf("%s is on %s, where a sync costs nothing; name a folder on a disk with -dir", dir, m.Filesystem)
	}
	if m.Sync250, err = measureSync(dir, 250); err != nil {
		return m, err
	}
	if m.Sync20k, err = measureSync(dir, 20_000); err != nil {
		return m, err
	}
	m.Loopback, err = measureLoopback(time.Second)
	return m, err
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// filesystemOf returns the file system type of a folder: that of the longest mount
// point that is a prefix of its path.
func filesystemOf(dir string) string {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "unknown"
	}
	kind, longest := "unknown", -1
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < longest {
			continue
		}
		if at := strings.TrimSuffix(f[1], "/"); path == at || strings.HasPrefix(path, at+"/") {
			kind, longest = f[2], len(f[1])
		}
	}
	return kind
}

// measureSync measures how long it takes to make an append of size bytes durable,
// without any server.
func measureSync(dir string, size int) (syncs, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return syncs{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var h histogram
	buf := make([]byte, size)
	for range 500 {
		start := now()
		if _, err := f.Write(buf); err != nil {
			return syncs{}, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return syncs{}, err
		}
		h.record(now() - start)
	}
	return syncs{h.quantile(.5).Seconds(), h.quantile(.99).Seconds()}, nil
}

// measureLoopback measures the throughput of a TCP connection over loopback, with
// writes of 1 MiB, read as the replay cells read.
func measureLoopback(d time.Duration) (bytesPerSecond float64, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		block := make([]byte, 1<<20)
		for err == nil {
			_, err = conn.Write(block)
		}
	}()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	buf := make([]byte, readBuffer)
	total, start := 0, now()
	for end := start + int64(d); now() < end; {
		n, err := conn.Read(buf)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return float64(total) / time.Duration(now()-start).Seconds(), nil
}
