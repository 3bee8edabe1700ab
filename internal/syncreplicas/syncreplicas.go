// Package syncreplicas makes a log whose appends are acknowledged only once replicas have them on
// disk too: the setting SYNC_REPLICAS. It sits between a server and a log, and only if that setting is
// used.
//
// The log below takes an append as always: that settles its index, and replicas receive it. Its
// completion then waits here, in the order of the appends, until the required number of replicas
// have reported that they have everything through it. After a timeout its outcome is unknown: it is
// on this machine's disk, but if this machine is lost, a replica without it may be promoted. It is
// never "not stored".
//
// Head and Acked do not show an entry before its completion runs. So nobody reads an entry that a
// promoted replica may lack, except one whose outcome was reported as unknown. Only replicas see
// more, through Local.
package syncreplicas

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/appends"
)

// Timeout is how long an append waits for replicas by default.
const Timeout = 10 * time.Second

// Source is the log below. Package server describes its methods for a Log and for a log that can
// have replicas; engine.Log is one.
type Source interface {
	Append(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))
	Submit(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))
	AwaitOnce(ctx context.Context) error
	Head(ctx context.Context) (uint64, error)
	Acked() (head uint64, moved <-chan struct{})
	Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error
	Since(ctx context.Context, time int64) (index uint64, err error)
	SetHooks(beforeBatch, beforeWait, beforeReplies func()) (remove func())
	Near() uint64

	Store() string
	Epochs() []appends.Epoch
	Fence(epoch uint64, by string) error
	Digest(ctx context.Context, from, through uint64) (appends.Digest, error)
}

// Log is a log whose appends wait for replicas. All methods may be called from any goroutine.
type Log struct {
	Source
	need    int
	timeout time.Duration

	head  atomic.Uint64        // at or after every entry whose completion has run
	acked atomic.Pointer[mark] // all completions through it have run

	wake    chan struct{} // holds a token when run has something to do
	refuses chan struct{} // closed by Refuse
	refuse  sync.Once
	running sync.WaitGroup

	mu       sync.Mutex
	queue    queue
	replicas map[string]*replica // connected replicas, by name
	durable  uint64              // need replicas have everything through it
	scratch  []uint64
	unknown  uint64 // appends that timed out
	closed   bool
	ended    bool // run has ended
}

// mark is a head and a channel that is closed once the head has moved.
type mark struct {
	head  uint64
	moved chan struct{}
}

// New returns a log over source that acknowledges an append once need replicas, at least 1, have
// it. All appends to source must go through the new log, which must be closed after source.
func New(source Source, need int, timeout time.Duration) *Log {
	l := &Log{
		Source: source, need: need, timeout: timeout,
		wake: make(chan struct{}, 1), refuses: make(chan struct{}), replicas: make(map[string]*replica),
	}
	head, _ := source.Acked()
	l.head.Store(head)
	l.acked.Store(&mark{head, make(chan struct{})})
	l.running.Go(l.run)
	return l
}

// Append appends to the log below. done runs once replicas have the entries, on a goroutine of this
// log.
func (l *Log) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Source.Append(entries, count, on, l.hold(count, done))
}

// Submit submits to the log below. done runs as for Append.
func (l *Log) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Source.Submit(entries, count, on, l.hold(count, done))
}

// Head returns the index of the last entry that readers may see: it moves just before the
// completion of that entry's append runs.
func (l *Log) Head(context.Context) (uint64, error) { return l.head.Load(), nil }

// Acked returns the index of the last entry whose completion has run. moved is closed once there is
// a later one.
func (l *Log) Acked() (head uint64, moved <-chan struct{}) {
	m := l.acked.Load()
	return m.head, m.moved
}

// Local is Acked of the log below, which replicas see.
func (l *Log) Local() (head uint64, moved <-chan struct{}) { return l.Source.Acked() }

// hold returns the completion for the log below, which queues the append.
func (l *Log) hold(count int, done func(appends.Result, error)) func(appends.Result, error) {
	return func(stored appends.Result, err error) {
		h := held{stored: stored, err: err, done: done, due: time.Now().Add(l.timeout)}
		switch {
		case len(stored.Once) > 0: // an entry with an index has it whatever err is
			for _, p := range stored.Once {
				h.last = max(h.last, p.Index)
			}
		case err == nil && count > 0:
			h.last = stored.First + uint64(count) - 1
		}
		l.mu.Lock()
		ended := l.ended
		if !ended {
			l.queue.push(h)
		}
		l.mu.Unlock()
		if ended { // then the log below has refused it
			h.done(h.stored, h.err)
			return
		}
		l.poke()
	}
}

// poke wakes run.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run runs the completions.
func (l *Log) run() {
	timer := time.NewTimer(l.timeout)
	defer timer.Stop()
	refuses := l.refuses
	var ready []held
	for {
		l.mu.Lock()
		ready = l.take(ready[:0], time.Now(), refuses == nil)
		l.ended = l.closed && len(ready) == 0 && l.queue.len() == 0
		ended := l.ended
		next := l.timeout
		if l.queue.len() > 0 {
			next = time.Until(l.queue.first().due)
		}
		l.mu.Unlock()
		if len(ready) > 0 {
			l.complete(ready)
			clear(ready)
			continue
		}
		if ended {
			return
		}
		timer.Reset(next)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-refuses:
			refuses = nil
		}
	}
}

// take removes from the front of the queue every append whose outcome is settled at the time now:
// replicas have it, or it must not wait any longer. The caller holds mu.
func (l *Log) take(ready []held, now time.Time, refusing bool) []held {
	for l.queue.len() > 0 {
		h := *l.queue.first()
		if h.last > l.durable {
			why := ""
			switch {
			case refusing:
				why = "when the server was stopped"
			case !now.Before(h.due):
				why = fmt.Sprintf("after %v", l.timeout)
			default:
				return ready
			}
			l.unknown++
			h.stored, h.err = appends.Result{}, &UnknownError{Last: h.last, Need: l.need, Have: l.having(h.last), Why: why}
		}
		l.queue.pop()
		ready = append(ready, h)
	}
	return ready
}

// complete runs completions, and then shows their entries to followers.
func (l *Log) complete(ready []held) {
	last := l.head.Load()
	for _, h := range ready {
		last = max(last, h.last)
		l.head.Store(last)
		h.done(h.stored, h.err)
	}
	if m := l.acked.Load(); last > m.head {
		l.acked.Store(&mark{last, make(chan struct{})})
		close(m.moved)
	}
}

// UnknownError: an append is on this machine's disk, but too few replicas have reported it on
// theirs.
type UnknownError struct {
	Last       uint64 // index of the last entry
	Need, Have int    // number of replicas
	Why        string // why the wait ended
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("outcome unknown: entries through index %d are on this server's disk, but only %d of %d replicas had them %s", e.Last, e.Have, e.Need, e.Why)
}

// Refuse is for a server that must end in time: from now on no append waits for replicas. The
// outcome of those that are waiting is unknown.
func (l *Log) Refuse() { l.refuse.Do(func() { close(l.refuses) }) }

// Close waits until all completions have run, and ends the log. The log below must be closed first.
// Refuse bounds the wait.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.poke()
	l.running.Wait()
}

// replica is the state that the connections of one name report.
type replica struct {
	conns   map[*uint64]struct{} // last index on disk, by connection
	durable uint64               // the greatest index in conns
	spoken  bool                 // has reported durable
}

// Join adds a replica. durable reports that it has everything through index on disk, leave that it
// has disconnected. Neither blocks. Connections with the same name count as one replica.
func (l *Log) Join(name string) (durable func(index uint64), leave func()) {
	conn := new(uint64)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.replicas[name]
	if r == nil {
		r = &replica{conns: make(map[*uint64]struct{})}
		l.replicas[name] = r
	}
	r.conns[conn] = struct{}{}
	durable = func(index uint64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		*conn, r.spoken = index, true
		l.count(r)
	}
	leave = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if delete(r.conns, conn); len(r.conns) == 0 {
			delete(l.replicas, name)
		}
		l.count(r)
	}
	return durable, leave
}

// count recomputes the counts after a change of r. The caller holds mu.
func (l *Log) count(r *replica) {
	r.durable = 0
	for conn := range r.conns {
		r.durable = max(r.durable, *conn)
	}
	all := l.scratch[:0]
	for _, r := range l.replicas {
		all = append(all, r.durable)
	}
	slices.Sort(all)
	l.scratch = all
	was := l.durable
	if l.durable = 0; len(all) >= l.need {
		l.durable = all[len(all)-l.need]
	}
	if l.durable > was {
		l.poke()
	}
}

// having returns how many replicas have everything through index. The caller holds mu.
func (l *Log) having(index uint64) (n int) {
	for _, r := range l.replicas {
		if r.durable >= index {
			n++
		}
	}
	return n
}
