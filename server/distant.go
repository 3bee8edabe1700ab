package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tcp-log-server/server/internal/message"
)

// askMax is how long a distantLog is asked for its head, or for the place of a time.
const askMax = 10 * time.Second

// Head returns the head of the log, as a read that arrives now must see it. If the log has to ask
// other machines, this takes no longer than a few seconds, and an error of theirs is a *ReadError
// with Later.
func (s *Server) Head(ctx context.Context) (uint64, error) { return s.bounded(ctx, s.log.Head) }

// Since is that of the log, with the errors of Head.
func (s *Server) Since(ctx context.Context, time int64) (index uint64, err error) {
	return s.bounded(ctx, func(ctx context.Context) (uint64, error) { return s.log.Since(ctx, time) })
}

// bounded asks the log, for no longer than askMax if it is a distantLog.
func (s *Server) bounded(ctx context.Context, ask func(context.Context) (uint64, error)) (uint64, error) {
	if s.known == nil {
		return ask(ctx)
	}
	asking, cancel := context.WithTimeout(ctx, s.askMax)
	defer cancel()
	n, err := ask(asking)
	switch {
	case err == nil:
		return n, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case asking.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%sthe other machines of the log have not answered for %v", notNow, s.askMax)
	}
	text := s.failures.forPeer(err).Error()
	if !strings.HasPrefix(text, notNow) {
		text = notNow + text
	}
	return 0, &ReadError{text, err}
}

// nearHead returns the head of the log, or as much of it as is known without asking other machines.
func (s *Server) nearHead(ctx context.Context) (uint64, error) {
	if s.known != nil {
		return s.known(), nil
	}
	return s.log.Head(ctx)
}

// prepareAsking has a read of a distantLog ask for what it needs, once everything that arrived with
// it has been acted on. Meanwhile the connection goes on: it takes writes and sends their replies.
// The caller has checked that no read is running. The error says why the connection was cut.
func (c *conn) prepareAsking(m message.Message) error {
	if err := c.lockWithRoom(); err != nil { // for an error in place of the read
		return err
	}
	c.outbox.mu.Unlock()
	c.holdFilter(m.Query.Where)
	ctx, id := c.untilShutdown(), bytes.Clone(m.ID)
	c.outbox.mu.Lock()
	c.outbox.ask = func() { c.asking.Go(func() { c.askRead(ctx, id, m.Query) }) }
	c.outbox.mu.Unlock()
	return nil
}

// askRead asks for the snapshot of a read, and for its beginning, and hands it to the writer. If
// they cannot be had now, the peer is told, and may read again. If ctx is done, the connection is
// about to end without the read.
func (c *conn) askRead(ctx context.Context, id []byte, q *message.Query) {
	s, o := c.server, &c.outbox
	head, err := s.Head(ctx)
	var first uint64
	if err == nil {
		first, err = firstIndex(ctx, s, q, head)
	}
	if err == nil {
		o.mu.Lock()
		o.request = newRequest(q, first, head)
		o.mu.Unlock()
		o.poke()
		return
	}
	c.dropFilter()
	var line []byte
	if unread, ok := errors.AsType[*ReadError](err); ok {
		line = appendFault(nil, id, unread.Text)
	}
	o.mu.Lock()
	o.reading = false
	o.asides = append(o.asides, line...)
	o.unsent += int64(len(line))
	o.mu.Unlock()
	o.poke()
}
