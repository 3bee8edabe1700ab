package gather

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// poll waits until ok.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// pair returns a socket and its peer.
func pair(t *testing.T) (s *Socket, peer *net.TCPConn) {
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
	s = NewSocket(accepted, net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second})
	t.Cleanup(func() { s.Close(); nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return s, nc.(*net.TCPConn)
}

// watchers returns how many epoll instances of this process watch the socket.
func (s *Socket) watchers(t *testing.T) (n int) {
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

// mustUnpark fails the test if the socket cannot be unparked.
func (s *Socket) mustUnpark(t *testing.T) {
	t.Helper()
	if err := s.unpark(); err != nil {
		t.Fatal(err)
	}
}

// TestParked: a parked socket is the same connection, unwatched by the runtime; after
// unpark it is as before.
func TestParked(t *testing.T) {
	s, peer := pair(t)
	if n := s.watchers(t); n != 1 {
		t.Fatalf("%d watch the socket at first, want the runtime alone", n)
	}
	b := make([]byte, 10)
	for round := range 3 {
		raw := s.park()
		if n := s.watchers(t); n != 0 {
			t.Errorf("%d watch the socket while it is parked", n)
		}
		if n, err := s.TryWrite([]byte("now\n")); n != 4 || err != nil {
			t.Errorf("TryWrite: %d bytes, %v", n, err)
		}
		if _, err := peer.Read(b); err != nil || string(b[:4]) != "now\n" {
			t.Errorf("the peer received %q, %v", b, err)
		}
		if n, err := s.in.Try(raw, b); n != 0 || err != nil {
			t.Errorf("reading nothing: %d bytes, %v: a read that waits would wait for ever", n, err)
		}
		peer.Write([]byte("back"))
		poll(t, "the bytes", func() bool { n, _ := s.in.Try(raw, b); return n == 4 })
		s.mustUnpark(t)
		if n := s.watchers(t); n != 1 {
			t.Errorf("round %d: %d watch the socket, want the runtime alone", round, n)
		}
		go peer.Write([]byte("later"))
		if n, err := s.Read(b); n != 5 || err != nil {
			t.Errorf("waiting for bytes: %d, %v", n, err)
		}
		s.raw.Control(func(fd uintptr) {
			if idle, _ := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); idle != 77 {
				t.Errorf("the first probe of a silent peer comes after %d s, want 77", idle)
			}
		})
	}
}

// TestParkedDeadlines: a deadline holds, whenever it was set.
func TestParkedDeadlines(t *testing.T) {
	past := time.Unix(1, 0)
	for name, set := range map[string]func(s *Socket){
		"before": func(s *Socket) { s.SetDeadline(past); s.park() },
		"while":  func(s *Socket) { s.park(); s.SetDeadline(past) },
		"twice":  func(s *Socket) { s.SetDeadline(past); s.park(); s.unpark(); s.park() },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := pair(t)
			set(s)
			if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write while parked: %v, want the deadline's error", err)
			}
			s.mustUnpark(t)
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v, want the deadline's error", err)
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the deadline's error", err)
			}
			if n, err := s.TryWrite([]byte("x")); n > 1 || err != nil {
				t.Errorf("TryWrite, which does not wait: %d bytes, %v", n, err)
			}
			s.SetDeadline(time.Time{})
			if _, err := s.Write([]byte("x")); err != nil {
				t.Errorf("Write without a deadline: %v", err)
			}
		})
	}
}

// TestParkedWaits: a write that must wait for the peer can do so while the socket is
// parked, and keeps it from being parked. Closing the socket ends it.
func TestParkedWaits(t *testing.T) {
	for _, parked := range []bool{true, false} {
		for _, closes := range []bool{true, false} {
			t.Run(fmt.Sprintf("parked=%v/closed=%v", parked, closes), func(t *testing.T) {
				s, peer := pair(t)
				if parked {
					s.park()
				}
				const size = 16 << 20 // more than the kernel buffers
				done := make(chan error)
				go func() { _, err := s.Write(make([]byte, size)); done <- err }()
				poll(t, "the write to wait", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.waits == 1
				})
				if parked {
					s.mustUnpark(t)
				}
				if s.park(); s.parked != nil {
					t.Error("a socket was parked while a write was waiting")
				}
				if closes {
					s.Close()
					if err := <-done; !errors.Is(err, net.ErrClosed) {
						t.Errorf("Write: %v, want %v", err, net.ErrClosed)
					}
					return
				}
				b := make([]byte, 1<<20)
				for got := 0; got < size; {
					n, err := peer.Read(b)
					if got += n; err != nil {
						t.Fatalf("after %d bytes: %v", got, err)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if s.park(); s.parked == nil {
					t.Error("a socket that nobody waits for was not parked")
				}
			})
		}
	}
}

// TestParkedClosed: a closed socket has no descriptor left, and says so.
func TestParkedClosed(t *testing.T) {
	for name, set := range map[string]func(s *Socket){
		"parked":             func(s *Socket) { s.park(); s.Close() },
		"parked and written": func(s *Socket) { s.park(); s.Write([]byte("x")); s.Close() },
		"closed, then both":  func(s *Socket) { s.Close(); s.park(); s.unpark() },
		"closed twice":       func(s *Socket) { s.park(); s.Close(); s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s, peer := pair(t)
			set(s)
			if err := s.unpark(); err != nil {
				t.Errorf("unpark: %v", err)
			}
			if s.raw.Control(func(uintptr) {}) == nil {
				t.Error("it has a descriptor")
			}
			for name, call := range map[string]func() error{
				"Write":      func() error { _, err := s.Write([]byte("x")); return err },
				"CloseWrite": s.CloseWrite,
			} {
				if err := call(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: %v, want %v", name, err, net.ErrClosed)
				}
			}
			for _, err := peer.Read(make([]byte, 10)); err == nil; _, err = peer.Read(make([]byte, 10)) {
			}
		})
	}
}

// TestUnparkFails: if no descriptor is left for it, the connection ends with an error
// that says so.
func TestUnparkFails(t *testing.T) {
	s, peer := pair(t)
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
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if _, err := peer.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the peer: %v, want the end of the connection", err)
	}
}

// TestHandedOffIsParked: only the gatherer watches a connection that is handed off, and
// only the runtime one that has been reclaimed.
func TestHandedOffIsParked(t *testing.T) {
	s, peer := pair(t)
	pool := New(1, nil)
	got := make(chan string, 1)
	c := pool.Conn(s, 0, func(b []byte, full bool) bool { got <- string(b); return true })
	returned := make(chan Returned)
	go func() { r, _ := c.HandOff(context.Background()); returned <- r }()
	poll(t, "the hand-off", func() bool { return pool.Len() == 1 })
	peer.Write([]byte("x"))
	if b := <-got; b != "x" {
		t.Errorf("the gatherer read %q", b)
	}
	s.mu.Lock()
	parked := s.parked != nil
	s.mu.Unlock()
	if n := s.watchers(t); n != 1 || !parked {
		t.Errorf("%d watch the socket, parked is %v: want the gatherer alone", n, parked)
	}
	c.Reclaim()
	if r := <-returned; r.Err != nil || len(r.B) > 0 {
		t.Errorf("reclaimed with %q, %v", r.B, r.Err)
	}
	if n := s.watchers(t); n != 1 || s.parked != nil {
		t.Errorf("%d watch the socket after it was reclaimed, want the runtime alone", n)
	}
	pool.Close()
}
