package server

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"tcp-log-server/internal/nowait"
)

// socket is a plain TCP connection that, beside waiting for the peer as any net.Conn
// does, can be read and written without waiting, and can be parked.
//
// The runtime is told of whatever happens to a socket that it may have to wait for,
// even while nobody waits. With many small messages that is 6 % of the server's
// processor time (docs/PERFORMANCE-NOTES.md). A socket that somebody else watches is
// therefore parked: the connection that the runtime knows is closed, and what is
// left is a second descriptor of the same socket, which it does not know. To wait
// for it again there has to be a new connection.
//
// The reading side of the connection parks and unparks it. Whoever else has to wait
// for the peer has it unparked.
type socket struct {
	recall        func() // asks the reading side to unpark
	local, remote net.Addr

	mu       sync.Mutex
	unparked sync.Cond
	tcp      *net.TCPConn    // nil while it is parked
	file     *os.File        // nil while it is not
	raw      syscall.RawConn // of the one that there is; a gatherer reads it without mu
	waits    int             // calls that wait for the peer
	closed   bool
	// What has been set, for the next connection.
	read, write time.Time // deadlines
	keepAlive   net.KeepAliveConfig

	in  *nowait.Reader // belongs to whoever reads
	out *nowait.Writer
}

// newSocket returns nil for a connection that is no plain TCP socket, and where
// there is no write that does not block.
func newSocket(nc net.Conn, recall func()) *socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !nowait.Possible {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{recall: recall, local: tcp.LocalAddr(), remote: tcp.RemoteAddr(), tcp: tcp, raw: raw,
		in: nowait.NewReader(), out: nowait.NewWriter()}
	s.unparked.L = &s.mu
	return s
}

// park takes the socket out of the runtime's hands. ok is false where it cannot, or
// where somebody is waiting for the peer.
func (s *socket) park() (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waits > 0 {
		return false
	}
	file, err := unwatched(s.raw)
	if err != nil {
		return false
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return false
	}
	s.tcp.Close()
	s.tcp, s.file, s.raw = nil, file, raw
	return true
}

// unpark makes it one again that can be waited for. Where that fails the socket is
// closed, and the error is what reads return.
func (s *socket) unpark() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.tcp != nil {
		return nil
	}
	defer s.unparked.Broadcast()
	defer s.file.Close()
	nc, err := net.FileConn(s.file)
	if err != nil {
		s.closed = true
		return err
	}
	tcp := nc.(*net.TCPConn)
	tcp.SetKeepAliveConfig(s.keepAlive)
	if !s.read.IsZero() {
		tcp.SetReadDeadline(s.read)
	}
	if !s.write.IsZero() {
		tcp.SetWriteDeadline(s.write)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		s.closed = true
		tcp.Close()
		return err
	}
	s.tcp, s.file, s.raw = tcp, nil, raw
	return nil
}

// hold waits until there is a connection to wait for the peer with. It stays until
// letGo is called.
func (s *socket) hold() (*net.TCPConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.tcp == nil && !s.closed {
		s.recall()
		s.unparked.Wait()
	}
	if s.closed {
		return nil, net.ErrClosed
	}
	s.waits++
	return s.tcp, nil
}

func (s *socket) letGo() {
	s.mu.Lock()
	s.waits--
	s.mu.Unlock()
}

// writeNow returns how many bytes of b the socket took. That it takes no more at the
// moment is no error. The caller holds what keeps others from writing.
func (s *socket) writeNow(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, err = s.out.Try(s.raw, b); isDeadline(err) {
		err = nil // that of an earlier write
	}
	return n, err
}

// waitWritable waits until the socket takes something, or for its deadline.
func (s *socket) waitWritable() error {
	tcp, err := s.hold()
	if err != nil {
		return err
	}
	defer s.letGo()
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Write(writable)
}

// Read waits until there is something to be read. Only who unparks the socket may call
// it.
func (s *socket) Read(b []byte) (n int, err error) {
	if _, err := s.hold(); err != nil {
		return 0, err
	}
	defer s.letGo()
	return s.in.Read(s.raw, b) // nobody parks it meanwhile
}

// Write waits until the peer has taken all of b.
func (s *socket) Write(b []byte) (n int, err error) {
	tcp, err := s.hold()
	if err != nil {
		return 0, err
	}
	defer s.letGo()
	return tcp.Write(b)
}

// CloseWrite tells the peer that nothing more will be sent.
func (s *socket) CloseWrite() error {
	tcp, err := s.hold()
	if err != nil {
		return err
	}
	defer s.letGo()
	return tcp.CloseWrite()
}

// Close may be called at any time, by anyone, more than once.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.unparked.Broadcast()
	if s.tcp == nil {
		return s.file.Close()
	}
	return s.tcp.Close()
}

func (s *socket) LocalAddr() net.Addr  { return s.local }
func (s *socket) RemoteAddr() net.Addr { return s.remote }

func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = t
	if s.tcp == nil {
		return nil
	}
	return s.tcp.SetReadDeadline(t)
}

func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write = t
	if s.tcp == nil {
		return nil
	}
	return s.tcp.SetWriteDeadline(t)
}

func (s *socket) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepAlive = config
	if s.tcp == nil {
		return nil
	}
	return s.tcp.SetKeepAliveConfig(config)
}
