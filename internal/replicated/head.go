package replicated

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/appends"
)

// Values of Config.Head.
const (
	// HeadLeader trusts the stream's leader if a majority of the replicas has been in touch with it
	// within stale. A leader that has been cut off since then may lag by as long.
	HeadLeader = "leader"
	// HeadQuorum sends an empty message through the stream: the head includes everything that was
	// acknowledged anywhere before the call.
	HeadQuorum = "quorum"
)

const (
	// stale is how long ago a replica may have been in touch with its leader and still count.
	stale = 2500 * time.Millisecond
	// headTime limits the wait for a head.
	headTime = 10 * time.Second
)

// asker lets callers that wait for the same answer share one question, asked after each of them called.
type asker struct {
	ask   func(context.Context) (uint64, error)
	spawn func(func()) bool

	mu    sync.Mutex
	next  *question // what new callers wait for; nil if there are none
	under bool      // a question is under way
}

type question struct {
	done chan struct{}
	head uint64
	err  error
}

// get returns the result of ask. The question has headTime, whatever ctx its callers have.
func (a *asker) get(ctx, life context.Context) (uint64, error) {
	a.mu.Lock()
	if a.next == nil {
		a.next = &question{done: make(chan struct{})}
	}
	q := a.next
	if !a.under {
		if a.under = a.spawn(func() { a.run(life) }); !a.under {
			a.next = nil
			a.mu.Unlock()
			return 0, errClosed
		}
	}
	a.mu.Unlock()
	select {
	case <-q.done:
		return q.head, q.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// run asks as long as there are callers.
func (a *asker) run(life context.Context) {
	for {
		a.mu.Lock()
		q := a.next
		a.next = nil
		a.under = q != nil
		a.mu.Unlock()
		if q == nil {
			return
		}
		ctx, cancel := context.WithTimeout(life, headTime)
		q.head, q.err = a.ask(ctx)
		cancel()
		close(q.done)
	}
}

// Head returns the index of the last entry, determined as Config.Head says. The error is an
// UnavailableError if no majority answers, or that of ctx.
func (l *Log) Head(ctx context.Context) (uint64, error) {
	head, err := l.heads.get(ctx, l.ctx)
	if err != nil && ctx.Err() == nil {
		err = &UnavailableError{fmt.Errorf("where the log ends: %w", readable(err))}
	}
	return head, err
}

// headByLeader asks the stream's leader how far the log goes.
func (l *Log) headByLeader(ctx context.Context) (uint64, error) {
	for {
		last, err := l.leaderLast(ctx)
		if err == nil {
			if err := l.awaitCounted(ctx, last); err != nil {
				return 0, err
			}
			return l.Known(), nil
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// leaderLast returns the last message of the stream according to its leader, if a majority has been in
// touch with the leader.
func (l *Log) leaderLast(ctx context.Context) (uint64, error) {
	info, err := l.streamInfo(ctx)
	if err != nil {
		return 0, err
	}
	if err := checkLeader(info); err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// checkLeader returns an error unless info comes from a leader that a majority has been in touch with. A
// replica that knows no leader, or has just started, may answer instead; info then names no leader, or
// lists it among the replicas, which a leader does not do with itself.
func checkLeader(info *jetstream.StreamInfo) error {
	if info.Config.Replicas <= 1 {
		return nil
	}
	c := info.Cluster
	if c == nil || c.Leader == "" {
		return errors.New("the log has no leader at present")
	}
	fresh := 1
	for _, r := range c.Replicas {
		if r.Name == c.Leader {
			return fmt.Errorf("a node has answered in place of the leader, %s", c.Leader)
		}
		if heardOf(r) {
			fresh++
		}
	}
	if all := max(info.Config.Replicas, len(c.Replicas)+1); fresh <= all/2 {
		return fmt.Errorf("%d of the %d nodes have been in touch with the leader, %s", fresh, all, c.Leader)
	}
	return nil
}

// heardOf reports whether the leader has heard from a replica within stale. Active is 0 if it never has.
func heardOf(r *jetstream.PeerInfo) bool { return !r.Offline && r.Active > 0 && r.Active < stale }

// streamInfo asks the leader about the stream.
func (l *Log) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err == nil {
		l.noteStream(info)
	}
	return info, err
}

// headByQuorum sends a message without entries, and waits until its place is known.
func (l *Log) headByQuorum(ctx context.Context) (uint64, error) {
	type answer struct {
		head uint64
		err  error
	}
	got := make(chan answer, 1)
	l.Append(nil, 0, appends.Condition{}, func(r appends.Result, err error) { got <- answer{r.First - 1, err} })
	select {
	case a := <-got:
		return a.head, a.err
	case <-ctx.Done():
		return 0, errors.New("no majority of the cluster's nodes answers")
	}
}
