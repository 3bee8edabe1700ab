package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"tcp-log-server/client"
)

// server is a running server.
type server struct {
	t     testing.TB
	cmd   *exec.Cmd
	env   []string
	addr  string // for TCP
	url   string // of the page, without a slash at its end
	token string // of the test's own client, if tokens are required

	mu     sync.Mutex
	events []map[string]any
	stderr strings.Builder
	ended  chan struct{}
}

// start starts a server on free ports with further settings, NAME=value. Without DATA its log is new.
func start(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{t: t, env: append([]string{"PORT=0", "HTTP=127.0.0.1:0", "LOOSE_MAX=0", "DATA=" + dir(t) + "/data"}, settings...)}
	t.Cleanup(func() { s.kill() })
	s.launch()
	return s
}

// launch runs the binary and waits until it serves the page.
func (s *server) launch() {
	s.t.Helper()
	s.cmd = exec.Command(binary)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.mu.Lock()
	s.events, s.ended = nil, make(chan struct{})
	s.mu.Unlock()
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stderr = s
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := s.ended
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				s.mu.Lock()
				s.events = append(s.events, e)
				s.mu.Unlock()
			}
		}
	}()
	s.addr = fmt.Sprintf("127.0.0.1:%v", s.event("listening")["port"])
	s.url = fmt.Sprintf("http://127.0.0.1:%v", s.event("page")["port"])
}

// Write receives the standard error of the server.
func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.Write(b)
}

// event waits for the first event of that name.
func (s *server) event(name string) (found map[string]any) {
	s.t.Helper()
	await(s.t, "the event "+name, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if e["event"] == name {
				found = e
				return true
			}
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the server ended before the event %q: %s", name, s.stderr.String())
		default:
		}
		return false
	})
	return found
}

// kill ends the server at once.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.ended
	s.cmd.Wait()
	s.cmd = nil
}

// restart starts the killed server again, at its addresses.
func (s *server) restart() {
	s.t.Helper()
	s.env = append(s.env, "PORT="+portOf(s.addr), "HTTP=127.0.0.1:"+portOf(s.url))
	s.launch()
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// client connects over TCP, until the test ends.
func (s *server) client() *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), s.addr, client.Options{Token: s.token})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// append appends entries over TCP and returns the index of the last.
func (s *server) append(entries ...string) (last uint64) {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), s.addr, client.Options{Token: s.token})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for len(entries) > 0 {
		var batch [][]byte
		size := 0
		for len(entries) > 0 && len(batch) < 1000 && (len(batch) == 0 || size+len(entries[0]) < 1<<19) {
			batch, size = append(batch, []byte(entries[0])), size+len(entries[0])
			entries = entries[1:]
		}
		first, err := c.AppendAll(s.t.Context(), batch...)
		if err != nil {
			s.t.Fatal(err)
		}
		last = first + uint64(len(batch)) - 1
	}
	return last
}

// head asks the server for the head.
func (s *server) head() uint64 {
	s.t.Helper()
	head, err := s.client().Head(context.WithoutCancel(s.t.Context()))
	if err != nil {
		s.t.Fatal(err)
	}
	return head
}
