package replicated

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// attemptTime is how long one attempt waits for an acknowledgement; attemptMore is added for each MiB
	// of the message.
	attemptTime = 2 * time.Second
	attemptMore = 2 * time.Second
)

// send sends a batch until it is known to be stored, ctx is done, or no attempt has reached a server
// within Config.GiveUp.
func (n *lane) send(ctx context.Context, b *batch) {
	began := time.Now()
	n.sending.Store(b)
	reached := false // an attempt may have reached a server
	for try := 0; ; try++ {
		var seq uint64
		err := n.log.inStep(ctx)
		if err == nil {
			seq, err = n.attempt(ctx, b)
		}
		if err != nil && !notSent(err) {
			reached = true
		}
		if err != nil && reached {
			if found, ok := n.find(ctx, b, err); ok {
				seq, err = found, nil
			}
		}
		if err == nil {
			took := time.Since(began)
			n.answering(b)
			n.stored(seq, b)
			n.answered(took)
			n.log.stats.stored(took)
			if onBatch := n.log.config.OnBatch; onBatch != nil {
				onBatch(b.message.count, len(b.message.body), took)
			}
			return
		}
		if late := time.Since(began) >= n.log.config.GiveUp; late || ctx.Err() != nil {
			n.giveUp(b, reached, err)
			if !reached || ctx.Err() != nil {
				return
			}
		}
		if try > 0 {
			n.log.troubled(try, err)
		}
		if try%2 == 1 && n.log.config.Reconnects && errors.Is(err, context.DeadlineExceeded) {
			n.log.conn.ForceReconnect() // this server may be cut off from the others
		}
		select {
		case <-ctx.Done():
		case <-b.counted:
		case <-time.After(min(time.Duration(try+1)*20*time.Millisecond, 500*time.Millisecond)):
		}
	}
}

// errAhead: this gateway has counted messages that the stream no longer has.
var errAhead = errors.New("the cluster has lost messages that this server has counted, as if it had been restored to an earlier state")

// known is a message that this gateway has counted, and its sum.
type known struct {
	seq uint64
	sum hash
}

// inStep returns an error if the stream may have lost messages that this gateway has counted. What it
// sends refers to them, and would be void, or wrong, in a stream without them. As long as nothing has
// happened, it asks nobody.
func (l *Log) inStep(ctx context.Context) error {
	reconnects := l.conn.Stats().Reconnects
	if !l.doubted.Load() && reconnects == l.reconnects {
		return nil
	}
	l.doubted.Store(false)
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	seq, sum := l.counter.latest()
	last, err := l.leaderLast(ctx)
	if err == nil && last < seq {
		err = errAhead
	}
	for _, k := range []known{*l.sure.Load(), {seq, sum}} {
		if err != nil || k.sum == (hash{}) {
			continue
		}
		var m message
		if m, err = l.ask(ctx, k.seq, true); err == nil && m.sum != k.sum {
			err = errAhead
		}
	}
	if err != nil {
		l.doubted.Store(true)
		return &unsentError{err}
	}
	l.reconnects = reconnects
	return nil
}

// unsentError wraps the reason why an attempt was not made.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// attempt sends a batch once. It returns the place of the message in the stream.
func (n *lane) attempt(ctx context.Context, b *batch) (seq uint64, err error) {
	patience := cmp.Or(n.log.config.attempt, attemptTime) + time.Duration(len(b.data))*attemptMore/(1<<20)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.cancel.Store(&cancel)
	if b.isCounted() {
		return b.at.Load(), nil
	}
	if n.log.conn.IsClosed() {
		return 0, errNoConn
	}
	answer, err := n.log.conn.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: n.subject, Data: b.data,
		Header: nats.Header{
			jetstream.ExpectedStreamHeader:      {n.log.config.Stream},
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(n.last, 10)},
		},
	})
	if err != nil {
		return 0, err
	}
	return n.ack(answer.Data)
}

// ack returns the place of a message from its acknowledgement.
func (n *lane) ack(answer []byte) (seq uint64, err error) {
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer, &ack); {
	case err != nil:
		return 0, fmt.Errorf("malformed acknowledgement: %w", err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != n.log.config.Stream || ack.Seq <= n.last:
		return 0, fmt.Errorf("an acknowledgement of stream %q, message %d, want %q and more than %d", ack.Stream, ack.Seq, n.log.config.Stream, n.last)
	}
	return ack.Seq, nil
}

// errNoConn: the connection was closed before an attempt. nats.ErrConnectionClosed may occur after the
// message has been sent.
var errNoConn = errors.New("the connection to the cluster is closed")

// notSent reports whether err means that an attempt has reached no server.
func notSent(err error) bool {
	if unsent := (*unsentError)(nil); errors.As(err, &unsent) {
		return true
	}
	for _, none := range []error{nats.ErrNoResponders, nats.ErrReconnectBufExceeded, errNoConn, nats.ErrConnectionDraining, nats.ErrMaxPayload} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

// find looks for the message of b after a failed attempt. If the tail has not delivered it and a server
// has refused it, the reason may be that it is already stored, so find looks at the end of the lane. Any
// copy proves that it is stored: a replica stores what a majority has. Finding none proves nothing.
func (n *lane) find(ctx context.Context, b *batch, failed error) (seq uint64, ok bool) {
	if b.isCounted() {
		return b.at.Load(), b.at.Load() > 0
	}
	if refused := new(jetstream.APIError); !errors.As(failed, &refused) {
		return 0, false
	}
	for _, get := range []func(context.Context, getRequest) ([]byte, uint64, error){n.log.byLeader, n.log.direct} {
		asking, cancel := context.WithTimeout(ctx, attemptTime/2)
		data, seq, err := get(asking, getRequest{LastFor: n.subject})
		cancel()
		if err == nil && string(data) == string(b.data) {
			return seq, true
		}
	}
	return 0, false
}

// stored notes that the message of b is stored as message seq.
func (n *lane) stored(seq uint64, b *batch) {
	n.number, n.last = b.message.number, seq
	b.acked = time.Now()
	n.waiting = append(n.waiting, b)
	n.log.knowLast(seq)
	if b.message.hint.seq >= seq { // everyone who reads it finds it void
		n.refuse(b, fmt.Errorf("not stored: %w", errAhead))
		return
	}
	if err := n.log.pass(seq, &b.message, b); err != nil || !b.isCounted() {
		n.log.wakeTail()
	}
}

// giveUp tells the waiting callers what is known: the outcome of the batch is unknown if an attempt may
// have reached a server, and everything after it is not stored. While an outcome is unknown, the lane
// takes no appends: they could be stored before a late copy of the batch.
func (n *lane) giveUp(b *batch, reached bool, why error) {
	why = readable(why)
	err := fmt.Errorf("not stored: %w", why)
	n.mu.Lock()
	if n.ended != nil {
		err = n.refusing()
	}
	n.drop(err)
	if reached {
		n.unsure = fmt.Errorf("the outcome of an earlier append is not known yet: %w", why)
		err = fmt.Errorf("outcome unknown: it was sent, and no majority of the nodes has acknowledged it within %v: %w", n.log.config.GiveUp, why)
	}
	if !b.told {
		n.tell(b, err)
	}
	n.mu.Unlock()
	n.complete()
}

// inProcess is the error code of a server that already has the message and waits for the others.
const inProcess jetstream.ErrorCode = 10164

// readable turns an error of NATS into words for a client.
func readable(err error) error {
	if unsent := (*unsentError)(nil); errors.As(err, &unsent) {
		err = unsent.error
	}
	switch {
	case errors.Is(err, errAhead):
		return errAhead
	case errors.Is(err, nats.ErrNoResponders):
		return errors.New("no node of the cluster leads the log at present")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return errors.New("no majority of the cluster's nodes answers")
	case notSent(err), errors.Is(err, nats.ErrConnectionClosed):
		return errors.New("no node of the cluster can be reached")
	}
	if refused := new(jetstream.APIError); errors.As(err, &refused) {
		if refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refused.ErrorCode == inProcess {
			return errors.New("the nodes of the cluster have not agreed on it yet")
		}
		return fmt.Errorf("a node of the cluster says: %s (%d)", refused.Description, refused.ErrorCode)
	}
	return err
}
