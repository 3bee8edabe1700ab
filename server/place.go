package server

import (
	"container/list"
	"net"
)

// Place is the place among Config.MaxConnections of a connection that another front door than
// Serve has accepted, whose requests become conversations. Like one of Serve's that has not
// sent its token, it is closed to make room while no client is admitted on it.
type Place struct {
	server *Server
	nc     net.Conn

	// The server's mu guards these.
	clients int           // requests of admitted clients under way
	waits   *list.Element // in the server's idle, while there are none
	left    bool
}

// maxIdle is how many places without an admitted client there may be: before the header of a
// request has arrived, it can take 150 KiB.
const maxIdle = 1024

// TakePlace takes a place for nc, unless there are too many connections or the server is
// stopping: then the error is ErrTooManyConnections or ErrServerClosed. The server closes nc
// if it needs the place, or when it shuts down while no client is admitted.
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

// Begin says that a request of an admitted client has begun, and End that it has ended.
func (p *Place) Begin() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.clients++
	p.known()
}

// End is the end of what Begin began.
func (p *Place) End() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if p.clients--; p.clients == 0 && !p.left {
		p.waits = p.server.idle.PushBack(p)
	}
}

// Leave gives the place up. It may be called again.
func (p *Place) Leave() {
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	p.leave()
}

// known removes the place from those that may be needed. The caller holds the server's mu.
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
