package server

import (
	"errors"
	"net"
	"os"
	"time"
)

// isDeadline reports whether a read or write ended at its deadline.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// writePiece is how many bytes are written at a time, to see whether the peer takes any.
const writePiece = 128 << 10

// stallTimeoutConn is a connection whose writes time out only when the peer has taken
// nothing for as long as the timeout. Under TLS it lies between the records and the
// socket, since a TLS connection cannot go on after a write that timed out. Writes come
// from one goroutine at a time.
type stallTimeoutConn struct {
	net.Conn
	timeout time.Duration
	counts  *counts   // of the server's bytes
	stuck   *share    // is told how quickly the peer takes what is written
	set     time.Time // when the deadline was last set
	limit   time.Time // the deadline that SetWriteDeadline was given, or zero
}

// Read reads what there is.
func (s *stallTimeoutConn) Read(b []byte) (n int, err error) {
	n, err = s.Conn.Read(b)
	s.counts.received.Add(uint64(n))
	return n, err
}

// Write writes all of b, or returns the error that ended it.
func (s *stallTimeoutConn) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if now := time.Now(); now.Sub(s.set) > s.timeout/8 {
			end := now.Add(s.timeout)
			if !s.limit.IsZero() && s.limit.Before(end) {
				end = s.limit
			}
			s.Conn.SetWriteDeadline(end)
			s.set = now
		}
		s.stuck.await()
		m, err := s.Conn.Write(b[n:min(len(b), n+writePiece)])
		s.stuck.moved(m)
		n += m
		s.counts.sent.Add(uint64(m))
		if err != nil {
			if !isDeadline(err) || m == 0 {
				return n, err
			}
			s.set = time.Time{}
		}
	}
	return n, nil
}

// SetWriteDeadline bounds all further writes by t: the TLS package has a deadline for its
// last record.
func (s *stallTimeoutConn) SetWriteDeadline(t time.Time) error {
	s.limit, s.set = t, time.Time{}
	return s.Conn.SetWriteDeadline(t)
}

// CloseWrite closes the sending half, if the connection has halves.
func (s *stallTimeoutConn) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// tryWrite writes as much of b as the socket takes without waiting, none where there are
// no such writes. The caller holds what keeps others from writing.
func (c *conn) tryWrite(b []byte) (n int, err error) {
	if c.direct == nil {
		return 0, nil
	}
	n, err = c.direct.TryWrite(b)
	c.server.counts.sent.Add(uint64(n))
	return n, err
}
