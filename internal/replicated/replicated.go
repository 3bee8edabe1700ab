// Package replicated keeps the log in a stream of NATS JetStream, which holds copies of it on several
// machines. It is another implementation of server.Log. Any number of gateways may have the same stream
// open; they share nothing else. An append is acknowledged when a majority of the stream's replicas has
// it on disk.
//
// A message of the stream is a batch of entries. The index of an entry follows from the number of entries
// in the messages before it, so every gateway arrives at the same indices by counting (walk.go). A
// gateway appends by sending messages on its own lane (lane.go), follows the end of the stream (tail.go),
// and reads old messages from whichever replica answers (fetch.go, fetchrun.go, seek.go, read.go).
package replicated

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"tcp-log-server/segment"
)

// Config says which stream a log is on.
type Config struct {
	// Conn is the connection to NATS. Close leaves it open. It must have been made with Options.
	Conn *nats.Conn
	// Stream is the name of the stream.
	Stream string
	// Create lets Open create the stream, with this many Replicas. An existing one must have at least as
	// many, or three if that is less: it may still be growing to five.
	Create   bool
	Replicas int
	// Store is the log's random name, if known. A stream that holds another log, or a missing stream, is
	// then an error.
	Store string
	// Head is HeadLeader or HeadQuorum.
	Head string
	// GiveUp is how long an append waits for its acknowledgement.
	GiveUp time.Duration
	// Lookup is the directory for the tables of hashes that appends.Once needs; "" means a temporary one.
	Lookup string
	// Reconnects makes the connection try another server when this one does not answer. It is for
	// connections that have several to choose from.
	Reconnects bool
	// Waiting, if not nil, is told what Open waits for.
	Waiting func(what string)
	// OnBatch, if not nil, is called after each message from this gateway has been stored, with the time
	// that took.
	OnBatch func(entries, bytes int, took time.Duration)
	Logger  zerolog.Logger

	attempt time.Duration // how long one attempt to send waits for its acknowledgement; 0 is attemptTime
}

// DefaultGiveUp is the default of Config.GiveUp: JetStream takes up to 10 s to elect another leader.
const DefaultGiveUp = 30 * time.Second

// Options returns the options that a connection needs: a message that cannot be sent at once is an error
// instead of being buffered.
func Options() []nats.Option {
	return []nats.Option{nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond)}
}

// errClosed: the log is closed, or closing.
var errClosed = errors.New("the server is stopping")

// Log is a gateway to the log on a stream. Its methods may be called from any goroutine.
type Log struct {
	config Config
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	api    string // prefix of the subjects of JetStream's API
	log    zerolog.Logger
	store  segment.StoreID
	epochs segment.Epochs
	// created, if not nil, completes the configuration of a stream that is about to be created.
	created func(*jetstream.StreamConfig) error

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // the goroutines that spawn started
	closing sync.Mutex
	closed  bool

	counter counter
	places  places
	lane    lane
	heads   asker
	once    *once
	remove  func() // removes the temporary directory of once

	opened     time.Time
	reconnects uint64                // the connection's count when inStep was last sure; owned by the sending goroutine
	budget     budget                // of the runs of messages
	last       atomic.Uint64         // the stream has at least the messages through this one
	brought    atomic.Uint64         // the last message that the tail's consumer has delivered
	slow       [2]atomic.Int64       // until when any replica, and the leader, count as slow; in ns since 1970
	stuck      atomic.Pointer[error] // why the tail does not advance
	doubted    atomic.Bool           // the stream may have been reset to an earlier state since sure was set
	sure       atomic.Pointer[known] // what the stream had when that was last certain
	missing    chan struct{}         // makes the tail fetch
	stats      stats
}

// Open opens the log. It waits until the stream exists and its end is known, or ctx is done. The error
// wraps ErrStream if the stream cannot hold a log.
func Open(ctx context.Context, config Config) (_ *Log, err error) {
	l, err := newLog(config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.cancel()
		}
	}()
	info, err := l.openStream(ctx)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(info.Config.Metadata[metaStore])
	if err != nil || len(id) != len(l.store) {
		return nil, fmt.Errorf("%w: stream %s names its log %q, want %d hexadecimal digits", ErrStream, config.Stream, info.Config.Metadata[metaStore], 2*len(l.store))
	}
	copy(l.store[:], id)
	if l.epochs, err = parseEpochs(info.Config.Metadata[metaEpochs]); err != nil {
		return nil, fmt.Errorf("%w: the epochs of stream %s are %q: %w", ErrStream, config.Stream, info.Config.Metadata[metaEpochs], err)
	}
	l.config.Store = l.store.String()
	begin, last, err := l.begin(ctx)
	if err != nil {
		return nil, err
	}
	l.opened, l.stats.answered, l.reconnects = time.Now(), time.Now(), config.Conn.Stats().Reconnects
	l.stats.leader = l.leaderName()
	l.sure.Store(new(known))
	l.counter.begin(begin, l.walkFrom(begin, recentBytes))
	l.knowLast(last)
	l.heads.ask = l.headByLeader
	if config.Head == HeadQuorum {
		l.heads.ask = l.headByQuorum
	}
	var random [8]byte
	rand.Read(random[:])
	laneID := binary.BigEndian.Uint64(random[:])
	l.lane = lane{log: l, id: laneID, subject: fmt.Sprintf("%s.lane.%016x", config.Stream, laneID), wake: make(chan struct{}, 1)}
	l.once = &once{log: l}
	if l.once.dir, l.remove, err = tableDir(&config); err != nil {
		return nil, err
	}
	l.heads.spawn = l.spawn
	l.spawn(func() { l.lane.run(l.ctx) })
	l.spawn(func() { l.consume(l.ctx) })
	l.spawn(func() { l.fill(l.ctx) })
	l.spawn(func() { l.watch(l.ctx) })
	err = l.awaitOpened(ctx, last)
	if err == nil {
		err = l.awaitSeeded(ctx, info.Config.Metadata)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(context.Background()))
	}
	l.stats.from = l.Known()
	return l, nil
}

// newLog returns a log that is not open: it can query its stream and fetch messages.
func newLog(config Config) (l *Log, err error) {
	l = &Log{config: config, conn: config.Conn, log: config.Logger, api: "$JS.API.", missing: make(chan struct{}, 1),
		budget: budget{max: budgetMax}}
	if l.js, err = jetstream.New(config.Conn); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// begin returns the place from which the log is counted, and the last message of the stream.
func (l *Log) begin(ctx context.Context) (at place, last uint64, err error) {
	for {
		if last, err = l.leaderLast(ctx); err == nil && last == 0 {
			return place{}, 0, nil
		}
		if err == nil {
			var m message
			if m, err = l.lastRight(ctx, last); err == nil {
				return m.hint, last, nil
			}
		}
		l.log.Debug().Err(err).Str("event", "cluster").Msg("the end of the stream is not known yet")
		select {
		case <-ctx.Done():
			return at, last, fmt.Errorf("where stream %s ends: %w: %w", l.config.Stream, err, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lastRight returns the last message through seq that is whole and not stray, or an empty one if there is
// none.
func (l *Log) lastRight(ctx context.Context, seq uint64) (m message, err error) {
	for ; seq > 0; seq-- {
		if m, err = l.fetch(ctx, seq); err == nil && !m.stray || err != nil && !isForeign(err) {
			return m, err
		}
	}
	return message{}, nil
}

// spawn runs fn on a goroutine that Close waits for. It returns false if the log is closed.
func (l *Log) spawn(fn func()) bool {
	l.closing.Lock()
	defer l.closing.Unlock()
	if !l.closed {
		l.running.Go(fn)
	}
	return !l.closed
}

// Store returns the log's random name.
func (l *Log) Store() string { return l.store.String() }

// Near returns 1: package server need not know which entries are on this machine.
func (l *Log) Near() uint64 { return 1 }

// Refuse is for a server that must stop by a deadline: the log takes no more appends.
func (l *Log) Refuse() { l.lane.end() }

// Close ends the log. Pending appends are sent until ctx is done; the rest are refused, or their outcome
// is unknown. All completions have run when Close returns.
func (l *Log) Close(ctx context.Context) error {
	l.Refuse()
	for !l.lane.idle() && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	l.closing.Lock()
	l.closed = true
	l.closing.Unlock()
	l.cancel()
	l.running.Wait()
	l.lane.abandon()
	l.remove()
	return nil
}
