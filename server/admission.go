package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"container/list"

	"tcp-log-server/canonical"
	"tcp-log-server/server/internal/message"
)

// Rights are what a connection may do.
type Rights struct{ Read, Write bool }

const (
	// authTime is how long a peer may take for its TLS handshake and its token.
	authTime = 10 * time.Second
	// authLine is the longest line with a token, in bytes: an unknown peer gets no memory to
	// fill.
	authLine = 4 << 10
)

// The reasons for turning a peer away, as it is told them.
var (
	// errUnauthorized: the peer has shown neither a certificate nor a known token.
	errUnauthorized = errors.New("unauthorized")
	// errNeedsTLS: the peer does not speak TLS; it gets this in plain text.
	errNeedsTLS = errors.New("this server requires TLS")
)

// startsTLS reports whether b, the beginning of a line, starts a TLS handshake. No valid
// line begins like this, and a handshake may contain no newline.
func startsTLS(b []byte) bool { return len(b) > 0 && b[0] == 0x16 }

// admit authenticates the peer: by the handshake under TLS, and by a token if there are
// tokens and the peer has no certificate. rest is the input received after the token. The
// error says why the connection ends.
func (c *conn) admit() (rest []byte, err error) {
	c.rights = Rights{Read: true, Write: true}
	secure, isTLS := c.nc.(*tls.Conn)
	if !isTLS && c.server.cfg.Tokens == nil {
		return nil, nil
	}
	c.setReadDeadline(time.Now().Add(authTime))
	certified := false
	if isTLS {
		ctx, cancel := context.WithTimeout(c.ctx, authTime)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
				return nil, errNeedsTLS
			}
			return nil, err
		}
		if state := secure.ConnectionState(); len(state.VerifiedChains) > 0 {
			certified = true
			c.log = c.log.With().Str("name", state.PeerCertificates[0].Subject.CommonName).Logger()
		}
	}
	if c.server.cfg.Tokens != nil && !certified {
		c.reader.greeted = true
		if rest, err = c.readToken(); err != nil {
			return nil, err
		}
	}
	c.server.mu.Lock()
	c.server.admitted(c)
	c.server.mu.Unlock()
	c.setReadDeadline(time.Time{})
	return rest, nil
}

// readToken reads the line with the token and gives the connection that token's rights. It
// returns the input after the line.
func (c *conn) readToken() (rest []byte, err error) {
	buf := make([]byte, 0, authLine)
	for {
		n, err := c.nc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.IndexByte(buf, '\n'); i >= 0 {
			return buf[i+1:], c.authorize(buf[:i])
		}
		if startsTLS(buf) {
			return nil, fmt.Errorf("%w: the peer speaks TLS", errUnauthorized)
		}
		if len(buf) == cap(buf) {
			return nil, fmt.Errorf("%w: the first line is over the limit of %d bytes", errUnauthorized, authLine)
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
	m, _, err := message.Parse(line, nil)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnauthorized, err)
	case m.Kind == message.Invalid:
		return fmt.Errorf("%w: %s", errUnauthorized, m.Fault)
	case m.Kind != message.Token:
		return fmt.Errorf("%w: the first line is not a token", errUnauthorized)
	}
	// Decoding would turn an unpaired surrogate into another character.
	text, _, err := canonical.Append(nil, m.Token)
	if err != nil {
		return fmt.Errorf("%w: the token is not a text", errUnauthorized)
	}
	var secret string
	if err := json.Unmarshal(text, &secret); err != nil {
		return fmt.Errorf("%w: %w", errUnauthorized, err)
	}
	if !c.authorizeHash(sha256.Sum256([]byte(secret))) {
		return fmt.Errorf("%w: unknown token", errUnauthorized)
	}
	return nil
}

// authorizeHash gives the connection the rights of the token with that SHA-256. ok is false
// if there is no such token.
func (c *conn) authorizeHash(hash [32]byte) (ok bool) {
	var name string
	for round := c.server.reauthorized.Load(); ; round = c.server.reauthorized.Load() {
		var rights Rights
		name, rights = c.server.cfg.Tokens(hash)
		if rights == (Rights{}) {
			return false
		}
		if c.authorized(&hash, rights, round) {
			break
		}
	}
	c.log = c.log.With().Str("name", name).Logger()
	return true
}

// authorized notes the rights that a token had in the given round of Reauthorize. ok is
// false if a later round has begun, which did not know of this connection.
func (c *conn) authorized(token *[32]byte, rights Rights, round uint64) (ok bool) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.reauthorized.Load() != round {
		return false
	}
	c.outbox.mu.Lock()
	defer c.outbox.mu.Unlock()
	c.token, c.rights = token, rights
	return true
}

// turnAway tells the peer over nc that it is not admitted. Only the log says more about why
// a token was rejected.
func (c *conn) turnAway(nc net.Conn, why error) {
	c.log.Warn().Str("event", "unauthorized").AnErr("error", why).Msg("client turned away")
	c.server.counts.unauthorized.Add(1)
	if errors.Is(why, errUnauthorized) {
		why = errUnauthorized
	}
	nc.Write(appendFault(nil, nil, why.Error()))
	c.outbox.stop(endInvalid) // so that the line reaches the peer
}

// setReadDeadline sets a deadline that does not undo Shutdown's.
func (c *conn) setReadDeadline(t time.Time) {
	c.outbox.mu.Lock()
	defer c.outbox.mu.Unlock()
	if !c.outbox.stopped {
		c.nc.SetReadDeadline(t)
	}
}

// Reauthorize asks Config.Tokens again for the rights of every connection that was admitted
// by a token, and cuts those whose rights have changed. A token presented meanwhile gets the
// rights that it has afterwards.
func (s *Server) Reauthorize() {
	type admitted struct {
		*conn
		rights Rights
	}
	byToken := make(map[[32]byte][]admitted)
	s.mu.Lock()
	s.reauthorized.Add(1)
	for c := range s.conns {
		c.outbox.mu.Lock()
		if c.token != nil {
			byToken[*c.token] = append(byToken[*c.token], admitted{c, c.rights})
		}
		c.outbox.mu.Unlock()
	}
	s.mu.Unlock()
	for token, conns := range byToken {
		_, has := s.cfg.Tokens(token)
		for _, c := range conns {
			if c.rights != has {
				c.cut(errUnauthorized)
			}
		}
	}
}

// Place is a place among Config.MaxConnections, for a connection accepted by a front door
// other than Serve, whose requests become conversations. While no client is admitted on it,
// it may be closed to make room, as a connection of Serve may be that has not sent its
// token.
type Place struct {
	server *Server
	nc     net.Conn

	// The server's mu guards these.
	clients int           // requests of admitted clients under way
	waits   *list.Element // in the server's idle list, while there are none
	left    bool
}

// maxIdle bounds the places without an admitted client: each can take 150 KiB before the
// header of a request has arrived.
const maxIdle = 1024

// TakePlace takes a place for nc. If there are too many connections or the server is
// stopping, the error is ErrTooManyConnections or ErrServerClosed. The server closes nc if
// it needs the place, or when it shuts down, as long as no client is admitted.
func (s *Server) TakePlace(nc net.Conn) (*Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle.Len() >= maxIdle {
		s.idle.Front().Value.(*Place).yield()
	}
	if err := s.claim(); err != nil {
		return nil, err
	}
	p := &Place{server: s, nc: nc}
	s.places[p] = struct{}{}
	p.waits = s.idle.PushBack(p)
	return p, nil
}

// Begin notes that a request of an admitted client has begun.
func (p *Place) Begin() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.clients++
	p.known()
}

// End notes that a request, for which Begin was called, has ended.
func (p *Place) End() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if p.clients--; p.clients == 0 && !p.left {
		p.waits = p.server.idle.PushBack(p)
	}
}

// Leave gives up the place. It may be called more than once.
func (p *Place) Leave() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.leave()
}

// known removes the place from those that may be closed to make room. The caller holds the
// server's mu.
func (p *Place) known() {
	if p.waits != nil {
		p.server.idle.Remove(p.waits)
		p.waits = nil
	}
}

func (p *Place) leave() {
	if !p.left {
		p.left = true
		delete(p.server.places, p)
		p.server.open.Add(-1)
		p.known()
	}
}

// yield closes the connection.
func (p *Place) yield() {
	p.leave()
	p.server.cfg.Logger.Debug().Str("event", "close").Stringer("address", p.nc.RemoteAddr()).Msg("closed to make room: no client was admitted")
	p.nc.Close()
}

// Unauthorized counts a client that another front door has turned away.
func (s *Server) Unauthorized() { s.counts.unauthorized.Add(1) }
