package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/server/internal/message"
)

// Replica describes a connected replica.
type Replica struct {
	Name    string // as it calls itself, "" if it has no name
	Address string // its host, without a port
	Since   time.Time
	Sent    uint64 // everything through this index has been sent, or is about to be
	Durable uint64 // everything through this index is on the replica's disk, as it reports; 0 until it has reported
}

// replica is a replication stream: a connection that has sent "replicate". The reader receives how far
// the replica is, and the writer sends entries.
type replica struct {
	name, address string
	since         time.Time
	epoch         uint64 // the log's last epoch when the stream began

	sent    atomic.Uint64
	durable atomic.Uint64
	heard   atomic.Int64 // when the replica last sent anything, in ns after since

	report func(index uint64) // of heldLog, or nil
	leave  func()

	// Owned by the writer.
	next   uint64    // the next index to send
	toldAt time.Time // when the replica was last told the head
	over   bool      // an entry cannot be sent, so the stream ends here
}

// replicas are the replication streams of a server.
type replicas struct {
	mu  sync.Mutex
	set map[*replica]struct{}
}

// Replicas returns the connected replicas, sorted by name and address.
func (s *Server) Replicas() []Replica {
	s.replicas.mu.Lock()
	var all []Replica
	for p := range s.replicas.set {
		all = append(all, Replica{p.name, p.address, p.since, p.sent.Load(), p.durable.Load()})
	}
	s.replicas.mu.Unlock()
	slices.SortFunc(all, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address), a.Since.Compare(b.Since))
	})
	return all
}

// local returns the head as replicas may see it, and a channel that is closed once there is a later
// one.
func (s *Server) local() (head uint64, moved <-chan struct{}) {
	if held, ok := s.log.(heldLog); ok {
		return held.Local()
	}
	return s.log.Acked()
}

// localFor returns the head as replicas may see it. If index is beyond that, it asks the log for its
// head: a replica that comes from another machine's server may be ahead of this one, and an append is
// acknowledged before replicas may see it. The error is one of Head.
func (s *Server) localFor(ctx context.Context, index uint64) (head uint64, err error) {
	if head, _ = s.local(); index <= head {
		return head, nil
	}
	asked, err := s.Head(ctx)
	return max(head, asked), err
}

// Reasons why no replica is served.
var (
	errUncopied = errors.New("this server's log cannot be replicated") // the log is not a copiedLog
	errEnding   = errors.New("the server is shutting down")
)

// checkReplica returns the answer to a replica that calls itself by, or the reason why it cannot be
// served. A log that has a later epoch elsewhere is fenced.
func (s *Server) checkReplica(ctx context.Context, m *message.Copy, by string) (answer []byte, epoch uint64, err error) {
	log, ok := s.log.(copiedLog)
	if !ok {
		return nil, 0, errUncopied
	}
	store, epochs := log.Store(), log.Epochs()
	last := epochs[len(epochs)-1]
	switch {
	case m.Store != "" && m.Store != store:
		return nil, 0, fmt.Errorf("the log of the replica is %s, and this one is %s: it is a copy of another log", m.Store, store)
	case m.Epoch > last.Number && m.Store == "":
		return nil, 0, fmt.Errorf("the replica is in epoch %d of a log that it does not name, and this one is in epoch %d", m.Epoch, last.Number)
	case m.Epoch > last.Number:
		err := log.Fence(m.Epoch, by)
		if err == nil {
			err = fmt.Errorf("this log is fenced: it is in epoch %d, and %s in epoch %d of the same log, so a replica was promoted; this log takes no more appends", last.Number, by, m.Epoch)
		}
		return nil, 0, err
	}
	for _, e := range epochs {
		if e.Number > m.Epoch && m.From > e.First {
			return nil, 0, fmt.Errorf("entries %d to %d of the replica are not in this log: epoch %d began at %d", e.First, m.From-1, e.Number, e.First)
		}
	}
	head, err := s.localFor(ctx, m.From-1)
	if unread, ok := errors.AsType[*ReadError](err); ok {
		return nil, 0, errors.New(unread.Text)
	}
	if err != nil {
		return nil, 0, errEnding
	}
	if m.From > head+1 {
		return nil, 0, fmt.Errorf("entries %d to %d of the replica are not in this log, which ends with %d: it has lost them, or was restored from an older copy", head+1, m.From-1, head)
	}
	answer = append(appendString([]byte(`{"replicating":{"store":`), store), `,"epochs":[`...)
	for i, e := range epochs {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = strconv.AppendUint(append(answer, '['), e.Number, 10)
		answer = append(strconv.AppendUint(append(answer, ','), e.First, 10), ']')
	}
	answer = strconv.AppendUint(append(answer, `],"head":`...), head, 10)
	return append(answer, "}}\n"...), last.Number, nil
}

// stream acts on a message that begins a replication stream or comes from its replica. If the message
// is invalid the peer is told why, and the stream ends.
func (r *reader) stream(m *message.Message) (end bool) {
	c := r.conn
	begun := r.begun
	r.begun, r.greeted, r.other = true, true, true
	var err error
	switch {
	case c.replica != nil:
		if err = c.replica.hear(m); err != nil {
			c.server.counts.invalid.Add(1)
		}
	case c.relayed:
		err = errors.New("replicas are served over TCP, not over HTTP")
	case !c.rights.Read || !c.rights.Write:
		c.server.counts.unauthorized.Add(1)
		err = errors.New("unauthorized: this token may not replicate, which takes the rights to read and to write")
	case begun:
		err = errors.New(`invalid message: "replicate" is accepted only as the first message, or after a token`)
	default:
		err = r.replicate(m.Copy)
	}
	if err == nil {
		return false
	}
	err = c.server.failures.forPeer(err)
	if r.mayLog() {
		c.log.Warn().Str("event", "replica").AnErr("error", err).Msg("a replica was turned away")
	}
	c.outbox.reject(err)
	return true
}

// replicate turns the connection into a replication stream. The error says why it cannot.
func (r *reader) replicate(m *message.Copy) error {
	c := r.conn
	s := c.server
	address, _, err := net.SplitHostPort(c.raw.RemoteAddr().String())
	if err != nil {
		address = c.raw.RemoteAddr().String()
	}
	by := address
	if m.Name != "" {
		by = fmt.Sprintf("%q at %s", m.Name, address)
	}
	answer, epoch, err := s.checkReplica(c.untilShutdown(), m, by)
	if err == nil && !s.beginStream(c) {
		err = errEnding
	}
	if err != nil {
		return err
	}
	p := &replica{name: m.Name, address: address, since: time.Now(), epoch: epoch, next: m.From, toldAt: time.Now()}
	p.sent.Store(m.From - 1)
	if held, ok := s.log.(heldLog); ok {
		p.report, p.leave = held.Join(cmp.Or(m.Name, address))
	}
	s.replicas.mu.Lock()
	s.replicas.set[p] = struct{}{}
	s.replicas.mu.Unlock()
	c.replica = p
	c.log.Info().Str("event", "replica").Str("replica", m.Name).Uint64("from", m.From).Msg("a replica is following")
	o := &c.outbox
	o.mu.Lock()
	o.replica, o.asides = p, append(o.asides, answer...)
	o.unsent += int64(len(answer))
	o.mu.Unlock()
	o.poke()
	return nil
}

// beginStream makes the connection one of those that Shutdown ends last. ok is false if Shutdown has
// begun.
func (s *Server) beginStream(c *conn) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.running.Done()
	s.streaming.Add(1)
	c.streams = true
	return true
}

// endStream undoes replicate.
func (c *conn) endStream() {
	p := c.replica
	if p == nil {
		return
	}
	if p.leave != nil {
		p.leave()
	}
	s := c.server
	s.replicas.mu.Lock()
	delete(s.replicas.set, p)
	s.replicas.mu.Unlock()
	c.log.Info().Str("event", "replica").Str("replica", p.name).Uint64("durable", p.durable.Load()).Msg("a replica is gone")
}

// interrupt ends the input of the replication streams, or of all other connections. The caller
// holds mu.
func (s *Server) interrupt(streams bool) {
	for c := range s.conns {
		if c.streams == streams {
			c.interrupt()
		}
	}
}

// hear acts on a message from the replica. An error, which is sent to the replica, ends the stream.
func (p *replica) hear(m *message.Message) error {
	p.heard.Store(int64(time.Since(p.since)))
	was, sent := p.durable.Load(), p.sent.Load()
	switch {
	case m.Kind == message.Invalid:
		return errors.New(m.Fault)
	case m.Kind != message.Durable:
		return errors.New(`invalid message: this connection is a replication stream, want "durable"`)
	case m.Copy.Durable < was:
		return fmt.Errorf(`"durable" is %d, but was %d before`, m.Copy.Durable, was)
	case m.Copy.Durable > sent:
		return fmt.Errorf(`"durable" is %d, but entries were sent only through %d`, m.Copy.Durable, sent)
	}
	p.durable.Store(m.Copy.Durable)
	if p.report != nil {
		p.report(m.Copy.Durable)
	}
	return nil
}

// digest answers with the digest of a range of entries. Only a few are computed at once: each takes a
// processor and reads from the disk. The digest of a single entry is an ordinary read, which a replica
// requests before it follows, so it never waits.
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
	var replicas []byte
	if err == nil && m.Replicas {
		replicas, err = s.verifyReplicas(ctx)
	}
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
	if replicas != nil {
		line = append(append(line, `,"replicas":`...), replicas...)
	}
	return c.aside(append(line, "}\n"...))
}

// verifyReplicas makes each machine of the log read its replica, and returns what they found as JSON.
func (s *Server) verifyReplicas(ctx context.Context) ([]byte, error) {
	log, ok := s.log.(verifiedLog)
	if !ok {
		return nil, errors.New("this server is no node of a cluster, so it has no replicas to verify")
	}
	found, err := log.VerifyReplicas(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(found)
}
