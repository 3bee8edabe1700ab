package server

import (
	"net"
	"time"
)

// patient is a connection that gives its peer up only when it has taken nothing
// for as long as the timeout: one that takes a little is waited for. Under TLS
// it lies between the records and the socket, since a TLS connection cannot go on
// after a write that timed out. Writes come from one goroutine at a time.
type patient struct {
	net.Conn
	timeout time.Duration
	counts  *counts   // of the server's bytes
	set     time.Time // when the deadline was last set
	until   time.Time // what SetWriteDeadline has asked for, zero for nothing
}

// Read reads what there is.
func (p *patient) Read(b []byte) (n int, err error) {
	n, err = p.Conn.Read(b)
	p.counts.received.Add(uint64(n))
	return n, err
}

// Write writes all of b, or returns the error that ended it.
func (p *patient) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if now := time.Now(); now.Sub(p.set) > p.timeout/8 {
			end := now.Add(p.timeout)
			if !p.until.IsZero() && p.until.Before(end) {
				end = p.until
			}
			p.Conn.SetWriteDeadline(end)
			p.set = now
		}
		var m int
		m, err = p.Conn.Write(b[n:])
		n += m
		p.counts.sent.Add(uint64(m))
		if err != nil {
			if !isDeadline(err) || m == 0 {
				return n, err
			}
			p.set = time.Time{}
		}
	}
	return n, nil
}

// SetWriteDeadline sets an end to patience: the TLS package has one for its last
// record.
func (p *patient) SetWriteDeadline(t time.Time) error {
	p.until, p.set = t, time.Time{}
	return p.Conn.SetWriteDeadline(t)
}

// CloseWrite ends the sending half, if the connection has halves.
func (p *patient) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}
