package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/segment"
)

// dial connects to the first of the source's addresses that accepts a connection, starting with the
// one whose turn it is. The connection closes when ctx ends.
func (c *Config) dial(ctx context.Context) (nc net.Conn, hangUp func(), err error) {
	c.begin()
	addrs := strings.Split(c.Source, ",")
	var errs []error
	for i := range addrs {
		addr := addrs[(int(c.turn.Load())+i)%len(addrs)]
		if nc, err = client.Connect(ctx, addr, c.Connect); err == nil {
			break
		}
		errs = append(errs, err)
	}
	if err != nil {
		return nil, nil, errors.Join(errs...)
	}
	if toItself(nc, c.Self) {
		nc.Close()
		return nil, nil, stopf("%s is the address of this replica itself: name that of the source", nc.RemoteAddr())
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	return nc, func() { stop(); nc.Close() }, nil
}

// toItself reports whether nc leads to self, where the replica is served. Such a replica would
// always look up to date. This happens when a name or an address moves with the machine.
func toItself(nc net.Conn, self net.Addr) bool {
	own, ok1 := self.(*net.TCPAddr)
	local, ok2 := nc.LocalAddr().(*net.TCPAddr)
	remote, ok3 := nc.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 || !ok3 || remote.Port != own.Port {
		return false
	}
	return remote.IP.Equal(own.IP) || own.IP.IsUnspecified() && remote.IP.Equal(local.IP)
}

// request is a replica's first message.
type request struct {
	From  uint64 `json:"from"`
	Store string `json:"store,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Name  string `json:"name,omitempty"`
}

// passes reports whether a refusal by the source is temporary.
func passes(refusal string) bool {
	return refusal == "too many connections" || refusal == "the server is shutting down" || strings.HasPrefix(refusal, "not available now: ")
}

// ask sends r to the source on nc, and returns its answer.
func (r request) ask(nc net.Conn, s *stream) (*replicating, error) {
	message, err := json.Marshal(map[string]request{"replicate": r})
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(append(message, '\n')); err != nil {
		return nil, err
	}
	switch m, err := s.message(); {
	case err != nil:
		return nil, err
	case m.Replicating != nil:
		return m.Replicating, nil
	case m.Error != nil && passes(*m.Error):
		return nil, fmt.Errorf("the source says: %s", *m.Error)
	case m.Error != nil:
		return nil, stopf("the source says: %s", *m.Error)
	}
	return nil, fmt.Errorf("%w: no answer to a replica", errProtocol)
}

// StoreOf asks the source for the store ID of its log, for a replica that begins empty.
func StoreOf(ctx context.Context, config Config) (store string, err error) {
	config.begin()
	pace := config.pace.withDefaults()
	nc, hangUp, err := config.dial(ctx)
	if err != nil {
		return "", err
	}
	defer hangUp()
	answer, err := request{From: 1, Name: config.Name}.ask(nc, newStream(nc, pace.silence, 1))
	if err != nil {
		return "", err
	}
	return answer.Store, nil
}

// AwaitStore repeats StoreOf until the source answers or ctx ends. It calls onRetry with each
// error.
func AwaitStore(ctx context.Context, config Config, onRetry func(error)) (store string, err error) {
	config.begin()
	var tries retry
	tries.between(config.Connect)
	for ; ; config.turn.Add(1) {
		if store, err = StoreOf(ctx, config); err == nil {
			return store, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		onRetry(err)
		sleep(ctx, jitter(tries.next()))
	}
}

// follow holds one conversation with the source, and returns why it ended: a *stopError if
// replication must stop.
func (r *Replica) follow(ctx context.Context) error {
	err := r.converse(ctx)
	if errors.Is(err, errDiffer) {
		if stop := r.differs(ctx); stop != nil {
			return stop
		}
	}
	return err // the entry may have been repaired since
}

// converse is follow, except that it returns errDiffer if the comparison ended the conversation.
func (r *Replica) converse(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	head, err := r.config.Log.Head(ctx)
	if err != nil {
		return err
	}
	nc, hangUp, err := r.config.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	in := newStream(nc, r.pace.silence, head+1)
	epochs := r.config.Log.Epochs()
	answer, err := request{
		From: head + 1, Store: r.config.Log.Store(), Epoch: epochs[len(epochs)-1].Number, Name: r.config.Name,
	}.ask(nc, in)
	if err != nil {
		return err
	}
	if err := r.mayFollow(ctx, answer, head); err != nil {
		return err
	}
	if err := r.config.Log.SourceEpoch(segment.Epochs(answer.epochs()).Current().Number); err != nil {
		return err
	}
	r.state.connect(answer.Head, head, func() { cancel(errDiffer) })
	r.config.Logger.Info().Str("event", "replication").Str("source", r.config.Source).Stringer("address", nc.RemoteAddr()).
		Uint64("head", head).Uint64("behind", answer.Head-head).Msg("following the source")
	// The one that ends first gives the error and ends the other: the connection closes with ctx.
	out := newStorer(r, nc, answer.epochs(), head)
	var storing sync.WaitGroup
	storing.Go(func() { cancel(out.run(ctx)) })
	cancel(r.receive(ctx, in, out))
	storing.Wait()
	return context.Cause(ctx)
}

// receive passes batches to out, until the connection or out ends.
func (r *Replica) receive(ctx context.Context, in *stream, out *storer) error {
	for {
		b, head, err := in.batch()
		if err != nil {
			return err
		}
		if head > 0 {
			r.state.heard(head)
			continue
		}
		if b.Count == 0 {
			continue // the source's log is empty
		}
		r.state.heard(in.next - 1)
		if err := out.put(ctx, b); err != nil {
			return err
		}
	}
}

// answerTime is how long the source may take to answer a question.
const answerTime = time.Minute
