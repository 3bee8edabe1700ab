package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Rights are what a connection may do.
type Rights struct{ Read, Write bool }

const (
	// entranceTime is how long a peer may take for its TLS handshake and its token.
	entranceTime = 10 * time.Second
	// entranceLine is how long the line with the token may be, in bytes: a peer that
	// nobody knows yet gets no memory to fill.
	entranceLine = 4 << 10
)

// errUnauthorized: the peer has not shown that it may come in.
var errUnauthorized = errors.New("unauthorized")

// enter lets the peer in, or not: it shakes hands where there is TLS, and asks for
// a token where there are tokens and the peer has no certificate. What was
// received behind the token is the beginning of the input. The error means that
// the connection has ended.
func (c *conn) enter() (rest []byte, err error) {
	c.rights, c.idle = Rights{Read: true, Write: true}, true
	secure, isTLS := c.nc.(*tls.Conn)
	if !isTLS && c.server.cfg.Tokens == nil {
		return nil, nil
	}
	c.setReadDeadline(time.Now().Add(entranceTime))
	certified := false
	if isTLS {
		ctx, cancel := context.WithTimeout(c.ctx, entranceTime)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if state := secure.ConnectionState(); len(state.VerifiedChains) > 0 {
			certified = true
			c.log = c.log.With().Str("name", state.PeerCertificates[0].Subject.CommonName).Logger()
		}
	}
	if c.server.cfg.Tokens != nil && !certified {
		c.idle = false
		if rest, err = c.present(); err != nil {
			return nil, err
		}
	}
	c.setReadDeadline(time.Time{})
	return rest, nil
}

// present reads the line with the token and gives the connection the rights of
// that token. It returns what came behind the line.
func (c *conn) present() (rest []byte, err error) {
	buf := make([]byte, 0, entranceLine)
	for {
		n, err := c.nc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.IndexByte(buf, '\n'); i >= 0 {
			return buf[i+1:], c.authorize(buf[:i])
		}
		if len(buf) == cap(buf) {
			return nil, errUnauthorized
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(buf)) > 0:
			return nil, c.authorize(buf)
		default:
			return nil, err
		}
	}
}

// authorize gives the connection the rights of the token in line.
func (c *conn) authorize(line []byte) error {
	var m struct {
		Token *string `json:"token"`
	}
	if json.Unmarshal(line, &m) != nil || m.Token == nil {
		return errUnauthorized
	}
	hash := sha256.Sum256([]byte(*m.Token))
	name, rights := c.server.cfg.Tokens(hash)
	if rights == (Rights{}) {
		return errUnauthorized
	}
	c.mu.Lock()
	c.token, c.rights = &hash, rights
	c.mu.Unlock()
	c.log = c.log.With().Str("name", name).Logger()
	return nil
}

// turnAway tells a peer that it may not come in.
func (c *conn) turnAway() {
	c.log.Warn().Str("event", "unauthorized").Send()
	c.server.counts.unauthorized.Add(1)
	c.nc.Write(errorLine(errUnauthorized.Error()))
	c.mu.Lock()
	c.end = endInvalid // so that the line reaches the peer
	c.mu.Unlock()
}

// setReadDeadline sets a deadline that does not undo the one of Shutdown.
func (c *conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.nc.SetReadDeadline(t)
	}
}

// Reauthorize asks Config.Tokens again for the rights of every connection that
// came in by a token, and cuts those off whose rights are not what they were.
func (s *Server) Reauthorize() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		token, had := c.token, c.rights
		c.mu.Unlock()
		if token == nil {
			continue
		}
		if _, has := s.cfg.Tokens(*token); has != had {
			c.cut(errUnauthorized)
		}
	}
}
