package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clientsMemory is the limit of the server's resident memory in bytes, whatever its
// clients do. Connections may hold about 270 MiB (server.Config.MaxHeld, and a little
// for each of 10,000), 128 MiB may wait for the disk (MaxInFlight), and garbage may
// take as much again.
const clientsMemory = 1 << 30

// memory returns a figure of the server's /proc/PID/status in bytes: VmRSS is its
// resident memory, VmHWM the maximum so far.
func (p *process) memory(figure string) int {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				p.t.Fatal(err)
			}
			return n << 10
		}
	}
	p.t.Fatalf("/proc/%d/status has no %s", p.pid, figure)
	return 0
}

// checkMemory fails the test if the server has ever used more memory than limit.
func (p *process) checkMemory(limit int) {
	p.t.Helper()
	most := p.memory("VmHWM")
	p.t.Logf("the server has taken %d MiB at most, the bound is %d", most>>20, limit>>20)
	if most > limit {
		p.t.Errorf("the server has taken %d MiB, want %d at most", most>>20, limit>>20)
	}
}

// cpuTime returns the processor time that the server has used.
func (p *process) cpuTime() time.Duration {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // after the name, which may contain anything
	fields, sum := strings.Fields(rest), 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond // USER_HZ is 100
}

// awaitNoConnections waits until the server has no other connection.
func awaitNoConnections(t testing.TB, addr string) {
	t.Helper()
	eventually(t, "no other connections", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		reply, err := ask(c, `{"stat":true}`)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Stat struct{ Connections int } }
		if err := json.Unmarshal([]byte(reply), &answer); err != nil || answer.Stat.Connections == 0 {
			t.Fatalf("reply is %s, %v", reply, err)
		}
		return answer.Stat.Connections == 1
	})
}

// needDescriptors raises the limit of open files as far as allowed, and skips the test
// if this process, and so the server, may not have n.
func needDescriptors(t testing.TB, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		higher := syscall.Rlimit{Cur: n, Max: n}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher); err != nil {
			t.Skipf("needs %d descriptors, may have %d", n, limit.Max)
		}
		limit = higher
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// clientConns are many connections to one server.
type clientConns struct {
	t     testing.TB
	mu    sync.Mutex
	conns []net.Conn
}

// dialMany dials n connections, some at a time, and calls do for each. An error of do
// fails the test. The receive buffers are small, so that data that the clients do not
// read accumulates on the server.
func dialMany(t testing.TB, addr string, n int, do func(i int, c net.Conn) error) *clientConns {
	t.Helper()
	cr := &clientConns{t: t, conns: make([]net.Conn, n)}
	t.Cleanup(cr.close)
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10)
		})
	}}
	next := make(chan int)
	var dialing sync.WaitGroup
	for range 32 {
		dialing.Go(func() {
			for i := range next {
				c, err := dialer.Dial("tcp", addr)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					continue
				}
				cr.mu.Lock()
				cr.conns[i] = c
				cr.mu.Unlock()
				if do == nil {
					continue
				}
				if err := do(i, c); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	dialing.Wait()
	return cr
}

// close closes all connections.
func (cr *clientConns) close() {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	for i, c := range cr.conns {
		if c != nil {
			c.Close()
			cr.conns[i] = nil
		}
	}
}

// ask sends a line and returns the answer, which must arrive within patience.
func ask(c net.Conn, line string) (string, error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	reply, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(reply, "\n"), err
}

// sendAny sends b. It is no error if the server stops reading, or closes the
// connection.
func sendAny(c net.Conn, b []byte) error {
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	_, err := c.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// latency appends one entry after another for the given time, and returns the 99th
// percentile of the times to the acknowledgement.
func latency(t testing.TB, addr string, during time.Duration) time.Duration {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(during + patience))
	replies := bufio.NewReader(c)
	var took []time.Duration
	for began := time.Now(); time.Since(began) < during; {
		from := time.Now()
		if _, err := io.WriteString(c, "{\"id\":\"l\",\"entry\":{\"latency\":true}}\n"); err != nil {
			t.Fatal(err)
		}
		line, err := replies.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, `{"id":"l","index":`) {
			t.Fatalf("reply is %q, %v", line, err)
		}
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// fillLog appends count entries with size bytes of padding, pipelined.
func fillLog(t testing.TB, addr string, count, size int) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	pad := strings.Repeat("x", size)
	go func() {
		w := bufio.NewWriterSize(c, 256<<10)
		for n := range count {
			fmt.Fprintf(w, "{\"id\":\"f\",\"entry\":{\"n\":%d,\"pad\":\"%s\"}}\n", n, pad)
		}
		w.Flush()
	}()
	replies := bufio.NewReaderSize(c, 256<<10)
	for n := range count {
		if line, err := replies.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"id":"f","index":`) {
			t.Fatalf("reply %d is %q, %v", n, line, err)
		}
	}
}

// canStrace reports whether strace is installed and may trace.
func canStrace() bool {
	return exec.Command("strace", "-o", "/dev/null", "true").Run() == nil
}
