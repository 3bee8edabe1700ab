package replicated

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stats is the state of a log as this gateway knows it. Gathering it asks nobody.
type Stats struct {
	Head     uint64
	Messages uint64 // messages of the stream that this gateway has counted
	Last     uint64 // the last message that it knows of: those after Messages have yet to arrive
	Lane     string // the subject on which it sends
	Waiting  int    // appends that have not completed
	Refusing error  // the result of Log.Refusing
	// Stalled is the longest time since the start that a message of this gateway took to be stored.
	Stalled time.Duration
	Damaged uint64        // messages that a node delivered damaged, since the start
	Entries uint64        // entries that any gateway has added since the start
	Written uint64        // their bytes, each entry with its newline
	Passed  uint64        // messages passed since the start
	Sent    uint64        // messages that this gateway has sent and that were stored
	Sending time.Duration // the total time that storing these took
	Rate    float64       // entries a second added to the log in the last seconds

	// The latest answer of the stream's leader, and when it came.
	Asked    time.Time
	Leader   string
	Replicas []Replica
	Bytes    uint64 // of the stream, on each node
}

// Replica is a copy of the stream, as the leader sees it.
type Replica struct {
	Name    string
	Leader  bool
	Current bool          // it has everything except what is under way to it
	Lag     uint64        // how many operations it lags
	Seen    time.Duration // since it was last in touch with the leader
	Offline bool
}

// stats holds the counts and the health of a log.
type stats struct {
	mu      sync.Mutex
	longest time.Duration
	sending time.Duration
	sent    uint64
	damaged uint64
	logged  time.Time // when a frequent event was last logged
	asked   time.Time
	info    *jetstream.StreamInfo
	leader  string // the stream's leader when watch last asked

	answered time.Time // when a majority was last known to answer
	trouble  error     // why no majority answered the last question; nil if one did

	from            uint64   // the head at the start
	pace            []sample // the last few seconds
	passed, written atomic.Uint64
}

// sample is the head at a time.
type sample struct {
	at   time.Time
	head uint64
}

// paceSpan is the time over which the rate is averaged.
const paceSpan = 5 * time.Second

// rate returns the entries a second added in the last seconds. The caller holds mu.
func (s *stats) rate(head uint64) float64 {
	now := time.Now()
	for len(s.pace) > 1 && now.Sub(s.pace[1].at) >= paceSpan {
		s.pace = s.pace[1:]
	}
	if len(s.pace) == 0 || now.Sub(s.pace[0].at) < time.Second {
		return 0
	}
	return float64(head-s.pace[0].head) / now.Sub(s.pace[0].at).Seconds()
}

// Stats returns the state of the log.
func (l *Log) Stats() Stats {
	at := l.counted()
	n := &l.lane
	s := Stats{Head: at.index, Messages: at.seq, Last: max(at.seq, l.last.Load()), Lane: n.subject, Refusing: l.Refusing()}
	n.mu.Lock()
	s.Waiting = len(n.order)
	n.mu.Unlock()
	s.Passed, s.Written = l.stats.passed.Load(), l.stats.written.Load()
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	s.Stalled, s.Damaged, s.Asked = l.stats.longest, l.stats.damaged, l.stats.asked
	s.Sent, s.Sending = l.stats.sent, l.stats.sending
	s.Rate = l.stats.rate(at.index)
	s.Entries = at.index - min(at.index, l.stats.from)
	if info := l.stats.info; info != nil {
		s.Bytes = info.State.Bytes
		if c := info.Cluster; c != nil {
			s.Leader, s.Replicas = c.Leader, replicas(c)
		}
	}
	return s
}

// replicas returns the cluster's replicas, the leader first if there is one.
func replicas(c *jetstream.ClusterInfo) (all []Replica) {
	if c.Leader != "" {
		all = append(all, Replica{Name: c.Leader, Leader: true, Current: true})
	}
	for _, r := range c.Replicas {
		all = append(all, Replica{Name: r.Name, Current: keepsUp(r), Lag: r.Lag, Seen: r.Active, Offline: r.Offline})
	}
	return all
}

// onItsWay is how many messages a replica may lack and still keep up. During appends, the slower of two
// replicas nearly always lacks some that the leader and the other have.
const onItsWay = 16

// keepsUp reports whether a replica has everything except what is under way to it. One that the leader
// has not heard from lately does not keep up, even if it lacked nothing then.
func keepsUp(r *jetstream.PeerInfo) bool {
	return heardOf(r) && (r.Current || r.Lag > 0 && r.Lag <= onItsWay)
}

// Refusing returns why appends are not acknowledged at present, nil if they are: the stream can no longer
// hold a log, the outcome of an append is unknown, or no majority answers.
func (l *Log) Refusing() error {
	l.stats.mu.Lock()
	trouble, since := l.stats.trouble, time.Since(l.stats.answered)
	l.stats.mu.Unlock()
	l.lane.mu.Lock()
	unfit, unsure := l.lane.unfit, cmp.Or(l.lane.ended, l.lane.unsure)
	l.lane.mu.Unlock()
	switch {
	case unfit != nil:
		return unfit
	case unsure != nil:
		return unsure
	case trouble != nil && since > stale:
		return fmt.Errorf("no majority of the cluster has answered for %v: %w", since.Round(time.Second), readable(trouble))
	}
	return nil
}

// knownReplicas returns the replicas of the stream according to its leader's last answer.
func (l *Log) knownReplicas() []Replica {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	if l.stats.info == nil || l.stats.info.Cluster == nil {
		return nil
	}
	return replicas(l.stats.info.Cluster)
}

// watchEvery is how often the leader is asked about the stream.
const watchEvery = time.Second

// watch asks the leader about the stream, for Refusing and Stats, until ctx is done. If the stream can no
// longer hold a log, the lane takes no more appends.
func (l *Log) watch(ctx context.Context) {
	var d doubt
	timer := time.NewTicker(watchEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		l.stats.mu.Lock()
		l.stats.rate(l.Known())
		l.stats.pace = append(l.stats.pace, sample{time.Now(), l.Known()})
		l.stats.mu.Unlock()
		seq, sum := l.counter.latest() // before the leader is asked
		last, err := l.leaderLast(ctx)
		if l.mayHaveLost(seq, last, err) {
			l.doubted.Store(true)
		} else if err == nil && !l.doubted.Load() {
			l.sure.Store(&known{seq, sum})
		}
		lost := d.check(ctx, l, seq, sum, last, err)
		l.stats.mu.Lock()
		info := l.stats.info
		if l.stats.trouble = err; err == nil {
			l.stats.answered = time.Now()
		}
		l.stats.mu.Unlock()
		if err == nil {
			l.lane.hold(cmp.Or(l.fit(info), lost, l.unreadable()))
		} else if errors.Is(err, jetstream.ErrStreamNotFound) {
			l.lane.hold(fmt.Errorf("%w: stream %s is gone", ErrStream, l.config.Stream))
		}
	}
}

// mayHaveLost reports whether the stream may have lost messages through seq that this gateway has
// counted: its leader has fewer (last is its word unless err is not nil), or is not the previous one, or
// there was none. A timeout is no sign of it.
func (l *Log) mayHaveLost(seq, last uint64, err error) bool {
	if err != nil {
		return !errors.Is(err, context.DeadlineExceeded)
	}
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	before := l.stats.leader
	if c := l.stats.info.Cluster; c != nil {
		l.stats.leader = c.Leader
	}
	return last < seq || before != l.stats.leader
}

// leaderName returns the stream's leader according to the last answer, "" if that is unknown.
func (l *Log) leaderName() string {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	if l.stats.info == nil || l.stats.info.Cluster == nil {
		return ""
	}
	return l.stats.info.Cluster.Leader
}

// doubt tracks whether the stream still has what this gateway has counted. If it had no leader, or the
// leader has fewer messages, it may have lost some, and other gateways may have put other messages in
// their place since. Then this gateway counts messages that are not in the log: its indices would be
// wrong, and so would the places in the messages that it sends, from which others count.
type doubt struct {
	any    bool
	seq    uint64 // the last message counted when the doubt began,
	sum    hash   // and its sum
	behind int    // how many times in a row the leader had fewer messages
	lost   error  // permanent
}

// check returns an error that wraps ErrStream if the stream has lost messages that this gateway has
// counted. seq and sum are those of the last message counted; last is the stream's last message according
// to its leader, unless err is not nil.
func (d *doubt) check(ctx context.Context, l *Log, seq uint64, sum hash, last uint64, err error) error {
	if !d.any && (err != nil || last < seq) {
		d.any, d.seq, d.sum = true, seq, sum
	}
	switch {
	case d.lost != nil || !d.any || err != nil:
	case last < d.seq:
		if d.behind++; time.Duration(d.behind)*watchEvery > 2*stale { // too long for a leader that has been cut off
			return fmt.Errorf("%w: stream %s ends with message %d, but had %d: its leader has lost messages", ErrStream, l.config.Stream, last, d.seq)
		}
	case d.sum == hash{}:
		*d = doubt{}
	default:
		d.behind = 0
		m, err := l.ask(ctx, d.seq, true)
		if err == nil && m.sum == d.sum {
			*d = doubt{}
		} else if err == nil {
			d.lost = fmt.Errorf("%w: message %d of stream %s has changed since this server counted it: the stream has lost messages; restart this server", ErrStream, d.seq, l.config.Stream)
		}
	}
	return d.lost
}

// noteStream keeps the leader's answer.
func (l *Log) noteStream(info *jetstream.StreamInfo) {
	l.stats.mu.Lock()
	l.stats.asked, l.stats.info = time.Now(), info
	l.stats.mu.Unlock()
	l.knowLast(info.State.LastSeq)
}

// stored notes how long a message of this gateway took to be stored.
func (s *stats) stored(d time.Duration) {
	s.mu.Lock()
	s.longest = max(s.longest, d)
	s.sending += d
	s.sent++
	s.mu.Unlock()
}

// mayLog reports whether to log a frequent event: at most once a second.
func (s *stats) mayLog() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.logged) < time.Second {
		return false
	}
	s.logged = time.Now()
	return true
}

// damaged notes that a node delivered a damaged message.
func (l *Log) damaged(seq uint64, err error) {
	l.stats.mu.Lock()
	l.stats.damaged++
	l.stats.mu.Unlock()
	if l.stats.mayLog() {
		l.log.Error().Err(err).Str("event", "damaged").Uint64("message", seq).Msg("a node has a damaged copy of a message; asking another node; run `tcp-log-server cluster verify`")
	}
}

// lost notes that messages missing from the tail cannot be fetched.
func (l *Log) lost(err error) {
	if l.stats.mayLog() {
		l.log.Error().Err(err).Str("event", "cluster").Msg("the end of the stream cannot be fetched; it is tried again")
	}
}

// late notes that the consumer of the tail is late.
func (l *Log) late(node string) {
	if l.stats.mayLog() {
		l.log.Warn().Str("event", "cluster").Str("from", node).Uint64("brought", l.brought.Load()).Uint64("stored", l.last.Load()).
			Msg("the newest messages come late from a node: another one is asked for them")
	}
}

// troubled notes that an attempt to send has failed.
func (l *Log) troubled(try int, err error) {
	if l.stats.mayLog() {
		l.log.Warn().Err(err).Str("event", "cluster").Int("attempts", try+1).Msg("an append is not acknowledged yet; it is sent again")
	}
}

// messageBytes returns the average size of a message.
func (l *Log) messageBytes() int {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	if l.stats.info == nil || l.stats.info.State.Msgs == 0 {
		return fetchBytes
	}
	return max(1, int(l.stats.info.State.Bytes/l.stats.info.State.Msgs))
}
