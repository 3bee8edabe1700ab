package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcp-log-server/internal/nowait"
)

// pair is a socket and what is at its other end. Whoever has to wait for it while it
// is parked says so on recalled.
func pair(t *testing.T) (s *socket, peer *net.TCPConn, recalled chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	recalled = make(chan struct{}, 1)
	s = newSocket(accepted, func() { recalled <- struct{}{} })
	t.Cleanup(func() { s.Close(); nc.Close() })
	return s, nc.(*net.TCPConn), recalled
}

// watchers is how many epoll instances of this process watch the socket.
func (s *socket) watchers(t *testing.T) (n int) {
	t.Helper()
	var inode uint64
	s.mu.Lock()
	err := s.raw.Control(func(fd uintptr) {
		var st unix.Stat_t
		unix.Fstat(int(fd), &st)
		inode = st.Ino
	})
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("/proc/self/fdinfo/*")
	watched := regexp.MustCompile(fmt.Sprintf(`(?m)^tfd:.* ino:%x `, inode))
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err == nil && watched.Match(text) {
			n++
		}
	}
	return n
}

// TestParked: a parked socket is the same connection, that the runtime does not watch,
// and unparked it is as it was.
func TestParked(t *testing.T) {
	s, peer, _ := pair(t)
	s.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second})
	if n := s.watchers(t); n != 1 {
		t.Fatalf("%d watch the socket to begin with, want the runtime alone", n)
	}
	b, now := make([]byte, 10), nowait.NewReader()
	for round := range 3 {
		s.park()
		if n := s.watchers(t); n != 0 {
			t.Errorf("%d watch the socket while it is parked", n)
		}
		if n, err := s.writeNow([]byte("now\n")); n != 4 || err != nil {
			t.Errorf("writing to it: %d bytes, %v", n, err)
		}
		if _, err := peer.Read(b); err != nil || string(b[:4]) != "now\n" {
			t.Errorf("the peer received %q, %v", b, err)
		}
		if n, err := now.Try(s.raw, b); n != 0 || err != nil {
			t.Errorf("reading nothing: %d bytes, %v: a read that waits would wait for ever", n, err)
		}
		peer.Write([]byte("back"))
		poll(t, "the bytes", func() bool { n, _ := now.Try(s.raw, b); return n == 4 })
		if err := s.unpark(); err != nil {
			t.Fatal(err)
		}
		if n := s.watchers(t); n != 1 {
			t.Errorf("round %d: %d watch the socket, want the runtime alone", round, n)
		}
		go peer.Write([]byte("later"))
		if n, err := s.Read(b); n != 5 || err != nil {
			t.Errorf("waiting for bytes: %d, %v", n, err)
		}
		s.raw.Control(func(fd uintptr) {
			if idle, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); idle != 77 {
				t.Errorf("the first probe for a silent peer comes after %d s, want 77", idle)
			}
		})
	}
}

// TestParkedDeadlines: a deadline holds, whenever it was set.
func TestParkedDeadlines(t *testing.T) {
	past := time.Unix(1, 0)
	for name, set := range map[string]func(s *socket){
		"before":    func(s *socket) { s.SetDeadline(past); s.park() },
		"meanwhile": func(s *socket) { s.park(); s.SetDeadline(past) },
		"twice":     func(s *socket) { s.SetDeadline(past); s.park(); s.unpark(); s.park() },
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := pair(t)
			set(s)
			if err := s.unpark(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); !isDeadline(err) {
				t.Errorf("Read: %v, want the deadline's", err)
			}
			if _, err := s.Write([]byte("x")); !isDeadline(err) {
				t.Errorf("Write: %v, want the deadline's", err)
			}
			if n, err := s.writeNow([]byte("x")); n > 1 || err != nil {
				t.Errorf("writeNow, which waits for nothing: %d bytes, %v", n, err)
			}
			s.SetDeadline(time.Time{})
			if _, err := s.Write([]byte("x")); err != nil {
				t.Errorf("Write without a deadline: %v", err)
			}
		})
	}
}

// TestParkedWaits: who has to wait for the peer has the socket unparked, or learns that
// it is closed.
func TestParkedWaits(t *testing.T) {
	for name, wait := range map[string]func(s *socket) error{
		"Write":        func(s *socket) error { _, err := s.Write([]byte("x")); return err },
		"CloseWrite":   (*socket).CloseWrite,
		"waitWritable": (*socket).waitWritable,
	} {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/closed=%v", name, closed), func(t *testing.T) {
				s, _, recalled := pair(t)
				s.park()
				done := make(chan error)
				go func() { done <- wait(s) }()
				select {
				case <-recalled:
				case <-time.After(patience):
					t.Fatal("nobody was asked to unpark the socket")
				}
				var want error
				if closed {
					s.Close()
					want = net.ErrClosed
				} else if err := s.unpark(); err != nil {
					t.Fatal(err)
				}
				if err := <-done; !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
				if s.Close(); s.unpark() != nil || s.open() {
					t.Error("a closed socket is open")
				}
			})
		}
	}
}

// open reports whether the socket has a descriptor.
func (s *socket) open() bool { return s.raw.Control(func(uintptr) {}) == nil }

// TestNotParkedWhileWaited: a socket that somebody waits for is not parked.
func TestNotParkedWhileWaited(t *testing.T) {
	s, peer, _ := pair(t)
	done := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		done <- err
	}()
	poll(t, "the read to wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waits == 1
	})
	if s.park() {
		t.Error("a socket was parked that was being read")
	}
	peer.Write([]byte("x"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !s.park() {
		t.Error("a socket that nobody waits for was not parked")
	}
	s.Close()
	if s.park() {
		t.Error("a closed socket was parked")
	}
}

// TestUnparkFails: where there is no descriptor left for it, the connection ends with
// an error that says so.
func TestUnparkFails(t *testing.T) {
	s, peer, _ := pair(t)
	s.park()
	var was unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
	less := was
	less.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &less); err != nil {
		t.Skip(err)
	}
	err := s.unpark()
	unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("unpark: %v, want EMFILE", err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	peer.SetReadDeadline(time.Now().Add(patience))
	if _, err := peer.Read(make([]byte, 1)); err == nil || isDeadline(err) {
		t.Errorf("the peer: %v, want the end of the connection", err)
	}
}

// TestLentIsParked: connections that are lent are watched by the gatherer alone, one
// that follows by the runtime too.
func TestLentIsParked(t *testing.T) {
	noLeaks(t)
	lendAtOnce(t)
	h := start(t, newFakeLog(), Config{})
	clients := h.dialLent(4)
	clients[0].send(`{"from":1}`)
	for clients[0].line() != current {
	}
	clients[0].append(2, 1) // after which it is lent again
	h.waitLent(4)
	h.mu.Lock()
	defer h.mu.Unlock()
	var watchers []int
	for c := range h.conns {
		watchers = append(watchers, c.socket.watchers(t))
	}
	total := 0
	for _, n := range watchers {
		total += n
	}
	if total != 5 {
		t.Errorf("the sockets are watched by %v, want one each and one more for the one that follows", watchers)
	}
}

// TestLentSlowPeer: a peer that takes no replies for a while gets each of them all the
// same, and one that takes none for too long is given up.
func TestLentSlowPeer(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"at last": time.Hour, "never": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			lendAtOnce(t)
			h := start(t, newFakeLog(), Config{WriteTimeout: timeout})
			c := h.dial()
			c.nc.(*net.TCPConn).SetReadBuffer(32 << 10)
			h.waitConns(1, func(c *conn) { c.socket.tcp.SetWriteBuffer(32 << 10) })
			c.append(1, 1)
			c.want(ack(1, 1))
			h.waitLent(1)
			// Replies of 8 kB each, more than the socket holds.
			const count = 200
			id := strings.Repeat("x", 8000)
			var lines strings.Builder
			for n := range count {
				fmt.Fprintf(&lines, `{"id":"%s%d","entry":[]}`+"\n", id, n)
			}
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c.nc, lines.String())
				sent <- err
			}()
			if timeout != time.Hour {
				poll(t, "the end of the connection", func() bool { return h.Connections() == 0 })
				c.nc.Close()
				<-sent
				return
			}
			h.waitLent(0)
			for n := range count {
				if got, want := c.line(), fmt.Sprintf(`{"id":"%s%d","index":%d}`, id, n, n+2); got != want {
					t.Fatalf("reply %d is …%s", n, got[max(0, len(got)-40):])
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			c.append(2, 1)
			c.want(ack(2, count+2))
			poll(t, "the connection to be lent again", func() bool {
				c.write("\n")
				return h.lent() == 1
			})
		})
	}
}

// waitConns waits until there are n connections and looks at each.
func (h *host) waitConns(n int, look func(*conn)) {
	h.t.Helper()
	poll(h.t, "the connections", func() bool { return h.Connections() == n })
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		look(c)
	}
}
