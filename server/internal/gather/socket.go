package gather

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"tcp-log-server/internal/nowait"
)

// Socket is a plain TCP connection that can also be read and written without waiting,
// and that can be parked.
//
// Once the runtime watches a socket, the kernel tells it of every event there, even while
// no goroutine waits. With many small messages this costs a server an eighth of its
// throughput (docs/PERFORMANCE-NOTES.md). A socket that a gatherer watches is therefore
// parked: the runtime's descriptor is closed, and a second one, unknown to the runtime,
// stays. A call that has to wait for the peer gives the runtime a descriptor again.
//
// One goroutine may read while another writes. Only the reading one parks and unparks.
type Socket struct {
	local, remote net.Addr
	keepAlive     net.KeepAliveConfig

	mu     sync.Mutex
	tcp    *net.TCPConn    // watched by the runtime; nil if it is not
	parked *os.File        // unknown to the runtime; nil unless parked
	raw    syscall.RawConn // of parked, or else of tcp
	waits  int             // writes that wait for the peer
	closed bool

	readDeadline, writeDeadline time.Time // for the next tcp

	in  *nowait.Reader
	out *nowait.Writer
}

var _ net.Conn = (*Socket)(nil)

// NewSocket returns nil if nc is not a plain TCP connection, or if this system has no
// calls that do not wait.
func NewSocket(nc net.Conn, keepAlive net.KeepAliveConfig) *Socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !nowait.Possible {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	tcp.SetKeepAliveConfig(keepAlive)
	return &Socket{keepAlive: keepAlive, local: tcp.LocalAddr(), remote: tcp.RemoteAddr(), tcp: tcp, raw: raw, in: nowait.NewReader(), out: nowait.NewWriter()}
}

// park takes the socket away from the runtime and returns the descriptor to watch. If that
// fails, or a write is waiting, the runtime keeps the socket.
func (s *Socket) park() syscall.RawConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waits > 0 {
		return s.raw
	}
	file, err := unwatched(s.raw)
	if err != nil {
		return s.raw
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return s.raw
	}
	s.tcp.Close()
	s.tcp, s.parked, s.raw = nil, file, raw
	return raw
}

// unpark gives the socket back to the runtime. If that fails, the socket is closed.
func (s *Socket) unpark() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.parked == nil {
		return nil
	}
	err := s.watch()
	if err == nil {
		s.raw, err = s.tcp.SyscallConn()
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	err = s.parked.Close()
	s.parked = nil
	return err
}

// watch makes sure that tcp is set. The caller holds mu.
func (s *Socket) watch() error {
	if s.closed {
		return net.ErrClosed
	}
	if s.tcp != nil {
		return nil
	}
	nc, err := net.FileConn(s.parked)
	if err != nil {
		return err
	}
	s.tcp = nc.(*net.TCPConn)
	s.tcp.SetKeepAliveConfig(s.keepAlive)
	return errors.Join(s.tcp.SetReadDeadline(s.readDeadline), s.tcp.SetWriteDeadline(s.writeDeadline))
}

// TryWrite writes as much of b as the socket takes without waiting. Writing less is not an
// error, nor is a deadline that has passed.
func (s *Socket) TryWrite(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, err = s.out.Try(s.raw, b); errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, err
}

// Read waits until there is something to read.
func (s *Socket) Read(b []byte) (n int, err error) { return s.in.Read(s.raw, b) }

// ReadPooled is Read into a buffer from the pool: see nowait.Reader.
func (s *Socket) ReadPooled(pool *sync.Pool) (b *[]byte, n int, err error) {
	return s.in.ReadPooled(s.raw, pool)
}

// withTCP calls wait, which may wait for the peer.
func (s *Socket) withTCP(wait func(tcp *net.TCPConn) error) error {
	s.mu.Lock()
	err := s.watch()
	tcp := s.tcp
	s.waits++
	s.mu.Unlock()
	if err == nil {
		err = wait(tcp)
	}
	s.mu.Lock()
	s.waits--
	s.mu.Unlock()
	return err
}

// Write waits until the peer has taken all of b.
func (s *Socket) Write(b []byte) (n int, err error) {
	err = s.withTCP(func(tcp *net.TCPConn) error { n, err = tcp.Write(b); return err })
	return n, err
}

// CloseWrite tells the peer that nothing more will be sent.
func (s *Socket) CloseWrite() error { return s.withTCP((*net.TCPConn).CloseWrite) }

// Close may be called at any time, from any goroutine, more than once.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

// close is Close for a caller that holds mu.
func (s *Socket) close() error {
	s.closed = true
	var err error
	if s.tcp != nil {
		err = s.tcp.Close()
	}
	if s.parked != nil {
		err = errors.Join(err, s.parked.Close())
	}
	return err
}

// SetWriteBuffer sets the size of the kernel's send buffer in bytes.
func (s *Socket) SetWriteBuffer(size int) error {
	return s.withTCP(func(tcp *net.TCPConn) error { return tcp.SetWriteBuffer(size) })
}

func (s *Socket) LocalAddr() net.Addr  { return s.local }
func (s *Socket) RemoteAddr() net.Addr { return s.remote }

func (s *Socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline does not wake a HandOff: Conn.Reclaim does.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readDeadline = t
	if s.tcp == nil {
		return nil
	}
	return s.tcp.SetReadDeadline(t)
}

func (s *Socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeDeadline = t
	if s.tcp == nil {
		return nil
	}
	return s.tcp.SetWriteDeadline(t)
}
