package replicated

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The tail of the stream comes through one ordered consumer a gateway. What that leaves out, or
// brings damaged or late, is fetched: an own message that has been acknowledged says how far the
// stream goes at least, and so does every question to the leader.

const (
	// tailLate is how long the tail may be behind what is known to be stored before it is fetched.
	tailLate = 100 * time.Millisecond
	// tailHeartbeat is how often an idle consumer says that it is alive. Where none comes for two
	// of these, the library makes another.
	tailHeartbeat = 2 * time.Second
)

// wakeTail has the tail look for what is missing.
func (l *Log) wakeTail() {
	select {
	case l.missing <- struct{}{}:
	default:
	}
}

// consume makes the consumer of the tail and passes what it brings, until ctx is done.
func (l *Log) consume(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.consumeFrom(ctx, l.counted().seq+1)
		if ctx.Err() != nil {
			return
		}
		l.log.Debug().Err(err).Str("event", "cluster").Msg("the consumer of the stream is made again")
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// consumeFrom is consume from a message on, until something goes wrong.
func (l *Log) consumeFrom(ctx context.Context, from uint64) error {
	making, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	consumer, err := l.js.OrderedConsumer(making, l.config.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	consuming, err := consumer.Consume(l.consumed,
		jetstream.PullMaxBytes(8<<20+int(l.conn.MaxPayload())), jetstream.PullHeartbeat(tailHeartbeat), jetstream.PullExpiry(10*tailHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if !errors.Is(err, jetstream.ErrNoHeartbeat) {
				select {
				case failed <- err:
				default:
				}
			}
		}))
	if err != nil {
		return err
	}
	defer func() { consuming.Stop(); <-consuming.Closed() }()
	select {
	case err := <-failed:
		return err
	case <-consuming.Closed():
		return errors.New("it has ended")
	case <-ctx.Done():
		return nil
	}
}

// consumed takes a message from the consumer.
func (l *Log) consumed(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		return
	}
	seq := meta.Sequence.Stream
	if seq <= l.counted().seq {
		return
	}
	l.knowLast(seq)
	m, err := decode(msg.Data(), seq)
	if err != nil { // it is fetched
		if errors.Is(err, errMessage) {
			l.damaged(seq, err)
		}
		l.wakeTail()
		return
	}
	if err := l.pass(seq, &m, nil); err != nil || l.counted().seq < seq {
		l.wakeTail()
	}
}

// knowLast notes that the stream goes through seq at least.
func (l *Log) knowLast(seq uint64) {
	for {
		known := l.last.Load()
		if seq <= known || l.last.CompareAndSwap(known, seq) {
			return
		}
	}
}

// fill fetches what the tail is missing, until ctx is done.
func (l *Log) fill(ctx context.Context) {
	behind := time.Now() // since when the tail may have been
	at := l.counted().seq
	timer := time.NewTicker(tailLate)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.missing:
		case <-timer.C:
		}
		now, last := l.counted().seq, l.last.Load()
		if now >= last || now != at {
			at, behind = now, time.Now()
			l.stuck.Store(nil)
			continue
		}
		if time.Since(behind) < tailLate {
			continue
		}
		err := l.walked(ctx, now+1, last, func(seq uint64, m *message) error { return l.pass(seq, m, nil) })
		at, behind = l.counted().seq, time.Now()
		if err != nil && ctx.Err() == nil {
			l.lost(err)
			if at == now {
				l.stuck.Store(&err)
			}
		}
	}
}

// stuckBy returns why the message after those that have been counted cannot be, nil if nothing is
// known to be wrong.
func (l *Log) stuckBy() error {
	if err := l.stuck.Load(); err != nil {
		return *err
	}
	return nil
}
