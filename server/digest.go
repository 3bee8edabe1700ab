package server

import (
	"errors"
	"fmt"
	"strconv"

	"tcp-log-server/server/internal/message"
)

// digest answers with the digest of a range of entries. Only a few are made at once: each takes
// a processor and reads from the disk. That of one entry is a read like any other, and a replica
// asks for it before it follows: it waits for nobody.
func (r *reader) digest(m *message.Copy) error {
	c := r.conn
	s := c.server
	log, ok := s.log.(copiedLog)
	if !ok {
		return c.fault(nil, errUncopied.Error())
	}
	ctx := c.untilShutdown()
	head, err := s.localFor(ctx, m.Through)
	if unread, ok := errors.AsType[*ReadError](err); ok {
		return c.fault(nil, unread.Text)
	}
	if err == nil && m.Through > head {
		return c.fault(nil, fmt.Sprintf("digest of %d to %d: the head is %d", m.From, m.Through, head))
	}
	if m.From < m.Through {
		select {
		case s.digests <- struct{}{}:
			defer func() { <-s.digests }()
		case <-ctx.Done():
		}
	}
	d, err := log.Digest(ctx, m.From, m.Through)
	switch {
	case c.ctx.Err() != nil:
		return err
	case ctx.Err() != nil:
		return c.fault(nil, fmt.Sprintf("digest of %d to %d: the server is shutting down", m.From, m.Through))
	case err != nil:
		return c.fault(nil, s.failures.forPeer(err).Error())
	}
	line := appendHash([]byte(`{"digest":`), d.Entries[:])
	line = appendHash(append(line, `,"times":`...), d.Times[:])
	line = strconv.AppendUint(append(line, `,"from":`...), m.From, 10)
	line = strconv.AppendUint(append(line, `,"through":`...), m.Through, 10)
	return c.aside(append(line, "}\n"...))
}
