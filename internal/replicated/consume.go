package replicated

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Each gateway reads the tail of the stream through one consumer, on a node that has a replica. JetStream
// chooses the node at random, so the gateway makes consumers until one is on the node that it is
// connected to: those messages cross the network once, and no link to another node can delay them. If
// that consumer is late all the same, the gateway makes one on another node.

const (
	// tailHeartbeat is how often an idle consumer says that it is alive. After two missed heartbeats the
	// gateway makes another one.
	tailHeartbeat = 2 * time.Second
	// tailCheck is how often the gateway checks whether the consumer is late.
	tailCheck = 500 * time.Millisecond
	// tailPatience is for how many checks the consumer may be late if there is another node to choose.
	// Each time a change of node does not help, the number doubles, up to tailMost.
	tailPatience, tailMost = 4, 64
	// placeTries is how many consumers are made to get one on the wanted node. If none is, the gateway
	// tries again after placeAgain checks: JetStream may believe that the node lags.
	placeTries = 12
	placeAgain = 20
)

// errTailLate: the consumer delivers messages long after they were stored.
var errTailLate = errors.New("the consumer brings messages late")

// consume makes the consumer of the tail and passes its messages until ctx is done.
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

// consumeFrom consumes from a message on, until something goes wrong. It returns the node that the
// consumer was on, and whether it delivered in time.
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
	stored, late := l.last.Load(), 0 // the stream had the messages through stored this many checks ago
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

// makeConsumer makes a consumer that starts at message from, if possible on the node want, or on any node
// except avoid. It returns the consumer's node, or "" if that is unknown.
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

// dropConsumer deletes a consumer. If that fails, its node deletes it once it has been idle for a while.
func (l *Log) dropConsumer(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := l.js.DeleteConsumer(ctx, l.config.Stream, c.CachedInfo().Name); err != nil {
		l.log.Debug().Err(err).Str("event", "cluster").Msg("a consumer of the stream is not deleted")
	}
}

// tailNode returns the node with a replica that the tail should come from: the one that this gateway is
// connected to, or else the leader; "" if any node except avoid will do.
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
	if err != nil { // the tail fetches it
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
