package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	addr string
	page string // the address of HTTP, if it was started with HTTP
	// peers are the other servers of its cluster. They end with it, and their use of resources counts as its own.
	peers []*process
	done  chan struct{} // closed when the process has ended
	err   error
}

// startProcess starts a command in its own process group. Its stderr goes to a log
// beside its data.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	// The server must not outlive the bench, however the bench ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// startListening starts a server that announces its port on stdout in a JSON
// line, as this project's server does. With page, another line announces that of HTTP.
func startListening(cmd *exec.Cmd, log string, page bool) (*process, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	p, err := startProcess(cmd, log)
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	out.SetReadDeadline(time.Now().Add(startLimit)) // a node of a cluster waits for the others, which may not come
	lines := bufio.NewReader(out)
	for p.addr == "" || page && p.page == "" {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			out.Close()
			p.kill()
			return nil, fmt.Errorf("%s does not listen: %w: %s", cmd.Path, err, lastLines(log))
		}
		var event struct {
			Event string `json:"event"`
			Port  int    `json:"port"`
		}
		json.Unmarshal(line, &event) // or no event
		switch event.Event {
		case "listening":
			p.addr = fmt.Sprintf("127.0.0.1:%d", event.Port)
		case "page":
			p.page = fmt.Sprintf("127.0.0.1:%d", event.Port)
		}
	}
	out.SetReadDeadline(time.Time{})
	// Keep reading the server's log: a full pipe would block the server.
	go func() {
		io.Copy(io.Discard, out)
		out.Close()
	}()
	return p, nil
}

// awaitReady calls ready until it succeeds. It is for servers that do not announce
// their port, or that announce it before they have loaded their data.
func (p *process) awaitReady(limit time.Duration, ready func() error) error {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended while starting: %v", p.cmd.Path, p.err)
		default:
		}
		if time.Now().After(end) {
			p.kill()
			return fmt.Errorf("%s not ready: %w", p.cmd.Path, err)
		}
	}
}

// stop ends the server as an operator would.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	all := append(p.peers[:len(p.peers):len(p.peers)], p)
	for _, m := range all {
		m.cmd.Process.Signal(syscall.SIGTERM)
	}
	limit := time.After(60 * time.Second)
	for _, m := range all {
		select {
		case <-m.done:
		case <-limit:
			p.kill()
			return errors.New("server did not stop within 60 s of SIGTERM")
		}
	}
	return nil
}

// kill ends the server as a crash would.
func (p *process) kill() {
	p.killPeers()
	p.cmd.Process.Kill()
	<-p.done
}

// killPeers ends the other servers of a cluster, as far as they have been started.
func (p *process) killPeers() {
	for _, m := range p.peers {
		if m != nil {
			m.kill()
		}
	}
}

// cpu returns the processor time that the servers have used so far.
func (p *process) cpu() (total time.Duration) {
	for _, m := range p.peers {
		total += m.cpu()
	}
	return total + p.ownCPU()
}

func (p *process) ownCPU() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The command's name, in parentheses, may contain spaces. utime and stime are
	// the 12th and 13th fields after it, in ticks of 1/100 s.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss returns the server's resident memory in bytes.
func (p *process) rss() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64)
	return kib * 1024
}

// diskUse returns the size of a directory on disk in bytes, as du counts it.
func diskUse(dir string) (total int64) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		var st syscall.Stat_t
		if syscall.Lstat(path, &st) == nil {
			total += st.Blocks * 512
		}
		return nil
	})
	return total
}

// lastLines returns the end of a log file, for error messages.
func lastLines(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-600):])
}
