package replicated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/appends"
)

// A gateway sends what it is given on a subject of its own, its lane, one message at a time. Each
// names the one before it in the lane, so a message that is sent again is stored once, however
// late the first of its copies comes through. A refusal proves nothing: while two servers take
// themselves for the leader, one refuses what the other stores. So a message is sent again until
// an acknowledgement, or the lane itself, shows that it is stored.

// lane sends the appends of this gateway.
type lane struct {
	log     *Log
	subject string

	mu     sync.Mutex
	queue  []*appended // not in a message yet
	order  []*appended // not completed yet, in the order of the calls
	refuse error       // why nothing is taken; nil if it is
	unfit  error       // the stream cannot hold the log: nothing is taken either
	ended  bool        // for good
	wake   chan struct{}

	completing sync.Mutex // held while completions run

	sending atomic.Pointer[batch] // what is on its way; it may come by the tail before it is acknowledged

	// Of the sending goroutine alone.
	number uint64 // of the last message
	last   uint64 // where that is in the stream, 0 before the first
}

// appended is what an append becomes.
type appended struct {
	entries []byte
	count   int
	on      appends.Condition
	done    func(appends.Result, error)

	// With appends.Once: the places of the entries, without an index where none was found in the
	// messages through looked.
	places []appends.Place
	looked uint64

	resolved bool // under lane.mu: what is below is set, and done runs when its turn has come
	result   appends.Result
	err      error
}

// batch is the appends of one message.
type batch struct {
	appends []*appended
	message message
	data    []byte        // the message as it is stored
	at      atomic.Uint64 // where in the stream it is, once it has been passed
	told    bool          // the callers know that the outcome is unknown; under lane.mu
}

const (
	// batchBytes is how many bytes of entries a message has at most, unless one append has more.
	batchBytes = 512 << 10
	// batchCount is how many entries a message has at most, unless one append has more.
	batchCount = 16 << 10
	// natsHeader is more than a message's header for NATS takes, in bytes.
	natsHeader = 512
)

// Append gives entries to the log, as server.Log says.
func (l *Log) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.lane.push(&appended{entries: entries, count: count, on: on, done: done})
}

// Submit is Append, which never waits here.
func (l *Log) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Append(entries, count, on, done)
}

// MaxAppend returns how many bytes of entries one append may hold: what fits into a message.
func (l *Log) MaxAppend() int { return int(l.conn.MaxPayload()) - headerSize - natsHeader }

// push adds an append to the queue.
func (n *lane) push(a *appended) {
	if most := n.log.MaxAppend(); len(a.entries) > most {
		a.err = fmt.Errorf("not stored: it has %d bytes, over the limit of %d of a message in the cluster", len(a.entries), most)
	} else if a.on.Kind == appends.Once {
		a.places, a.looked, a.err = n.log.once.lookUp(a.entries, a.count)
	}
	n.mu.Lock()
	switch {
	case a.err != nil:
	case n.refuse != nil:
		a.err = n.refuse
	case n.unfit != nil:
		a.err = fmt.Errorf("not stored: %w", n.unfit)
	}
	refused := a.err != nil
	a.resolved = refused
	n.order = append(n.order, a)
	if !refused {
		n.queue = append(n.queue, a)
	}
	n.mu.Unlock()
	if refused {
		n.complete()
	} else {
		n.poke()
	}
}

func (n *lane) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// complete runs the completions whose turn has come.
func (n *lane) complete() {
	n.completing.Lock()
	defer n.completing.Unlock()
	for {
		n.mu.Lock()
		if len(n.order) == 0 || !n.order[0].resolved {
			if len(n.order) == 0 {
				n.order = nil
			}
			n.mu.Unlock()
			return
		}
		a := n.order[0]
		n.order[0] = nil
		n.order = n.order[1:]
		n.mu.Unlock()
		a.done(a.result, a.err)
	}
}

// run sends batches until ctx is done.
func (n *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		b := n.take()
		if b == nil {
			select {
			case <-n.wake:
			case <-ctx.Done():
			}
			continue
		}
		n.send(ctx, b)
	}
}

// hold has the lane take nothing because of err, or again if err is nil.
func (n *lane) hold(err error) {
	n.mu.Lock()
	n.unfit = err
	n.mu.Unlock()
}

// take makes a batch of what has waited longest. It returns nil if nothing waits.
func (n *lane) take() *batch {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		return nil
	}
	at := n.log.counted()
	first := n.queue[0]
	b := &batch{message: message{kind: first.on.Kind, number: n.number + 1, hint: at, time: time.Now().UnixMicro()}}
	size, taken := 0, 0
	for _, a := range n.queue {
		if a.on.Kind != first.on.Kind || taken > 0 && (first.on.Kind == appends.Expect || size+len(a.entries) > batchBytes || b.message.count+a.count > batchCount) {
			break
		}
		taken++
		size += len(a.entries)
		b.message.count += a.count
	}
	b.appends = append(b.appends, n.queue[:taken]...)
	clear(n.queue[:taken])
	if n.queue = n.queue[taken:]; len(n.queue) == 0 {
		n.queue = nil
	}
	switch first.on.Kind {
	case appends.Expect:
		b.message.arg, b.message.body = first.on.Head, first.entries
	case appends.Once:
		b.unknownEntries()
	default:
		body := make([]byte, 0, size)
		for _, a := range b.appends {
			body = append(body, a.entries...)
		}
		b.message.body = body
	}
	b.data = b.message.encode()
	b.message.body = b.data[headerSize:] // which nobody changes after the appends have been completed
	return b
}

// unknownEntries makes the body of a message with appends.Once: what has not been found.
func (b *batch) unknownEntries() {
	m := &b.message
	m.count, m.arg = 0, b.appends[0].looked
	for _, a := range b.appends {
		m.arg = min(m.arg, a.looked)
		for i, rest := 0, a.entries; len(rest) > 0; i++ {
			n := lineEnd(rest)
			if a.places[i].Index == 0 {
				m.body = append(m.body, rest[:n]...)
				m.count++
			}
			rest = rest[n:]
		}
	}
}

// send sends a batch until it is known to be stored, or nobody has been reached with it for as
// long as appends wait, or the log is closed.
func (n *lane) send(ctx context.Context, b *batch) {
	began := time.Now()
	n.sending.Store(b)
	reached := false // an attempt may have come through
	var failed error
	for try := 0; ; try++ {
		seq, err := n.attempt(ctx, b)
		if err != nil && !notSent(err) {
			reached = true
		}
		if err != nil && reached {
			if found, ok := n.find(ctx, b); ok {
				seq, err = found, nil
			}
		}
		if err == nil {
			n.stored(seq, b)
			took := time.Since(began)
			n.log.stats.stored(took)
			if onBatch := n.log.config.OnBatch; onBatch != nil {
				onBatch(b.message.count, len(b.message.body), took)
			}
			return
		}
		failed = err
		if ctx.Err() != nil {
			n.giveUp(b, reached, failed, true)
			return
		}
		if time.Since(began) >= n.log.config.GiveUp {
			n.giveUp(b, reached, failed, false)
			if !reached {
				return
			}
		}
		if try > 0 {
			n.log.troubled(try, failed)
		}
		if try%2 == 1 && n.log.config.Reconnects && errors.Is(failed, context.DeadlineExceeded) {
			n.log.conn.ForceReconnect() // this server may be cut off from the others
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(time.Duration(try+1)*20*time.Millisecond, 500*time.Millisecond)):
		}
	}
}

// attemptTime is how long one attempt waits for an acknowledgement.
const attemptTime = 2 * time.Second

// attempt sends a batch once. It returns where in the stream the message is.
func (n *lane) attempt(ctx context.Context, b *batch) (seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
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
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("an acknowledgement that is none: %w", err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != n.log.config.Stream || ack.Seq <= n.last:
		return 0, fmt.Errorf("an acknowledgement of stream %q, message %d, want %q and more than %d", ack.Stream, ack.Seq, n.log.config.Stream, n.last)
	}
	return ack.Seq, nil
}

// notSent reports whether err says that an attempt has reached nobody.
func notSent(err error) bool {
	for _, none := range []error{nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

// find looks for the message of b at the end of the lane. Any copy of it proves that it is stored:
// a replica stores what a majority has. Not to find it proves nothing.
func (n *lane) find(ctx context.Context, b *batch) (seq uint64, ok bool) {
	if seq := b.at.Load(); seq > 0 {
		return seq, true
	}
	for _, get := range []func(context.Context, getRequest) ([]byte, uint64, error){n.log.direct, n.log.byLeader} {
		data, seq, err := get(ctx, getRequest{LastFor: n.subject})
		if err == nil && string(data) == string(b.data) {
			return seq, true
		}
	}
	return 0, false
}

// stored notes that the message of b is stored as message seq.
func (n *lane) stored(seq uint64, b *batch) {
	n.number, n.last = b.message.number, seq
	n.mu.Lock()
	if !n.ended {
		n.refuse = nil
	}
	n.mu.Unlock()
	if err := n.log.pass(seq, &b.message, b); err != nil {
		n.log.wakeTail()
	}
}

// giveUp tells those that wait what is known: of the batch that its outcome is not, if an attempt
// may have come through, and of everything after it that it is not stored. While an outcome is
// unknown, nothing is taken: it could be stored behind what may still come.
func (n *lane) giveUp(b *batch, reached bool, why error, end bool) {
	why = readable(why)
	n.mu.Lock()
	n.ended = n.ended || end
	switch {
	case end:
		n.refuse = fmt.Errorf("not stored: %w", errClosed)
	case reached:
		n.refuse = fmt.Errorf("not stored: the outcome of an earlier append is not known yet: %w", why)
	}
	err := fmt.Errorf("not stored: %w", why)
	if reached {
		err = fmt.Errorf("outcome unknown: it was sent, and no majority of the nodes has acknowledged it within %v: %w", n.log.config.GiveUp, why)
	}
	if !b.told {
		for _, a := range b.appends {
			a.resolve(err)
		}
		b.told = true
	}
	for _, a := range n.queue {
		a.resolve(fmt.Errorf("not stored: %w", why))
	}
	n.queue = nil
	n.mu.Unlock()
	n.complete()
}

// idle reports whether nothing waits for its completion.
func (n *lane) idle() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.order) == 0
}

// abandon completes what is left when the log has ended: what was not sent, and what was
// acknowledged while its place was not known.
func (n *lane) abandon() {
	n.mu.Lock()
	for _, a := range n.queue {
		a.resolve(fmt.Errorf("not stored: %w", errClosed))
	}
	n.queue = nil
	for _, a := range n.order {
		if !a.resolved {
			a.resolve(errors.New("outcome unknown: the server stopped before it knew its index"))
		}
	}
	n.mu.Unlock()
	n.complete()
}

// resolve says that an append has failed. The caller holds lane.mu. Entries that the log was found
// to hold have their places all the same.
func (a *appended) resolve(err error) {
	a.resolved, a.err = true, err
	a.result.Once = a.places
}

// readable is an error of NATS in words for a client.
func readable(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return errors.New("no node of the cluster leads the log at present")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return errors.New("no majority of the cluster's nodes answers")
	case notSent(err):
		return errors.New("no node of the cluster can be reached")
	}
	return err
}

// passed completes the appends of a batch by its verdict.
func (n *lane) passed(b *batch, v *verdict) {
	n.mu.Lock()
	if !b.told {
		next, number := v.first, 0
		for _, a := range b.appends {
			a.resolved = true
			if v.void {
				a.err = &appends.ConditionError{Head: v.before.index, Want: a.on.Head}
				continue
			}
			a.result = appends.Result{First: next, Time: v.time}
			if a.on.Kind == appends.Once {
				next, number = a.placeEach(n.log.once, v, next, number)
			} else {
				next += uint64(a.count)
			}
			if a.err == nil && next == a.result.First {
				a.result.Time = 0
			}
		}
	}
	n.mu.Unlock()
	n.complete()
}

// placeEach sets the places of an append with appends.Once: of those of its entries that were
// sent, the first has this number in the message, and what counts has next and what follows.
func (a *appended) placeEach(known *once, v *verdict, next uint64, number int) (uint64, int) {
	for i, rest := 0, a.entries; len(rest) > 0; i++ {
		n := lineEnd(rest)
		if p := &a.places[i]; p.Index == 0 {
			if v.fresh == nil || v.fresh[number] {
				*p = appends.Place{Index: next, Time: v.time}
				next++
			} else if found, err := known.find(rest[:n-1]); err != nil {
				a.err = fmt.Errorf("outcome unknown: the log holds an entry already, and it cannot be found where: %w", err)
			} else {
				*p = found
			}
			number++
		}
		rest = rest[n:]
	}
	a.result.Once = a.places
	return next, number
}
