package replicated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The tail of the stream comes through one consumer a gateway, on one of the nodes that have a replica.
// JetStream chooses a node at random, so it is made again until it is on the node that this gateway is
// connected to: what comes from there has crossed the network once, and no link to another node can hold
// it up. Where it brings messages late all the same, it is made on another node.

const (
	// tailHeartbeat is how often an idle consumer says that it is alive. Where none comes for two
	// of these, another one is made.
	tailHeartbeat = 2 * time.Second
	// tailCheck is how often it is looked at whether the consumer brings messages late.
	tailCheck = 500 * time.Millisecond
	// tailPatience is for how many checks it may, if there is another node to choose; each time this does
	// not help it may for twice as many, up to tailMost.
	tailPatience, tailMost = 4, 64
	// placeTries is how often a consumer is made to have it on the node that is wanted. Where that does
	// not succeed, it is tried again after placeAgain checks: JetStream may take the node to be behind.
	placeTries = 12
	placeAgain = 20
)

// errTailLate: the consumer brings messages long after they were stored.
var errTailLate = errors.New("the consumer brings messages late")

// consume makes the consumer of the tail and passes what it brings, until ctx is done.
func (l *Log) consume(ctx context.Context) {
	avoid, patience := "", tailPatience
	for ctx.Err() == nil {
		node, inTime, err := l.consumeFrom(ctx, l.counted().seq+1, avoid, patience)
		if ctx.Err() != nil {
			return
		}
		if inTime {
			patience = tailPatience
		}
		if avoid = ""; errors.Is(err, errTailLate) {
			l.late(node)
			avoid, patience = node, min(2*patience, tailMost)
			continue
		}
		l.log.Debug().Err(err).Str("event", "cluster").Msg("the consumer of the stream is made again")
		pause(ctx, 200*time.Millisecond)
	}
}

// consumeFrom is consume from a message on, until something goes wrong. It returns the node that the
// consumer was on, and whether that has brought messages in time.
func (l *Log) consumeFrom(ctx context.Context, from uint64, avoid string, patience int) (node string, inTime bool, err error) {
	want := tailNode(l.conn.ConnectedServerName(), avoid, l.knownReplicas())
	consumer, node, err := l.makeConsumer(ctx, from, want, avoid)
	if err != nil {
		return "", false, err
	}
	l.brought.Store(from - 1)
	server := l.conn.ConnectedServerName()
	failed := make(chan error, 1)
	consuming, err := consumer.Consume(l.consumed,
		jetstream.PullMaxBytes(8<<20+int(l.conn.MaxPayload())), jetstream.PullHeartbeat(tailHeartbeat), jetstream.PullExpiry(10*tailHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return node, false, err
	}
	defer func() {
		consuming.Stop()
		<-consuming.Closed()
		l.dropConsumer(ctx, consumer)
	}()
	tick := time.NewTicker(tailCheck)
	defer tick.Stop()
	stored, late := l.last.Load(), 0 // the stream went through this message so many checks ago
	for checks := 0; ; checks++ {
		select {
		case err := <-failed:
			return node, inTime, err
		case <-consuming.Closed():
			return node, inTime, errors.New("it has ended")
		case <-ctx.Done():
			return node, inTime, nil
		case <-tick.C:
		}
		if l.brought.Load() >= stored {
			inTime = inTime || late < tailPatience && stored >= from
			stored, late = l.last.Load(), 0
		} else if late++; late >= patience {
			return node, inTime, errTailLate
		}
		if now := l.conn.ConnectedServerName(); now != "" && now != server {
			return node, inTime, fmt.Errorf("the connection is to %s now", now)
		}
		if checks >= placeAgain && want != "" && node != want {
			return node, inTime, fmt.Errorf("it is on %s, want %s", node, want)
		}
	}
}

// makeConsumer makes a consumer of the messages from one on, if that can be had on the node that is wanted,
// or on any but the one to avoid. It returns the node that it is on, "" if that is not known.
func (l *Log) makeConsumer(ctx context.Context, from uint64, want, avoid string) (_ jetstream.Consumer, node string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*apiTimeout)
	defer cancel()
	for try := 1; ; try++ {
		consumer, err := l.js.CreateConsumer(ctx, l.config.Stream, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, AckPolicy: jetstream.AckNonePolicy,
			InactiveThreshold: 30 * time.Second, Replicas: 1, MemoryStorage: true,
		})
		if err != nil {
			return nil, "", err
		}
		if c := consumer.CachedInfo().Cluster; c != nil {
			node = c.Leader
		}
		if node == want || want == "" && (node != avoid || avoid == "") || try == placeTries {
			return consumer, node, nil
		}
		l.dropConsumer(ctx, consumer)
		pause(ctx, time.Duration(try)*10*time.Millisecond)
	}
}

// dropConsumer deletes a consumer. One that cannot be deleted now is by its node, once it is idle.
func (l *Log) dropConsumer(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := l.js.DeleteConsumer(ctx, l.config.Stream, c.CachedInfo().Name); err != nil {
		l.log.Debug().Err(err).Str("event", "cluster").Msg("a consumer of the stream is not deleted")
	}
}

// tailNode returns the node that the tail is to come from, of those that have a replica: the one that
// this gateway is connected to, or else the leader; "" if it may be any but the one to avoid.
func tailNode(connected, avoid string, known []Replica) string {
	leader := ""
	for _, r := range known {
		switch {
		case r.Offline || r.Name == avoid:
		case r.Name == connected:
			return connected
		case r.Leader:
			leader = r.Name
		}
	}
	return leader
}

// consumed takes a message from the consumer.
func (l *Log) consumed(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		return
	}
	seq := meta.Sequence.Stream
	l.brought.Store(seq)
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
