// Package syncreplicas makes a log whose appends are acknowledged only once replicas have them on
// disk too: the setting SYNC_REPLICAS. It lies between a server and a log, and only where that
// setting asks for it.
//
// The log below takes an append, as it always does: that settles its place, and replicas are sent
// it. Its completion then waits here, in the order of the appends, until as many replicas as are
// needed have said that they have everything through it. After a timeout its outcome is unknown:
// it is on this machine's disk, but if this machine is lost a replica without it may be promoted.
// It is never "not stored".
//
// Head and Acked do not show an entry before its completion runs, so nobody reads what a replica
// that is promoted may not have, except for entries of which the outcome was told as unknown. Only
// replicas see more, by Local.
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

// Timeout is how long an append waits for replicas, unless New is told otherwise.
const Timeout = 10 * time.Second

// Source is the log below. Its methods are those that package server describes for a Log and for
// one that can have replicas; engine.Log is one.
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

	head  atomic.Uint64        // an entry whose completion has run is not beyond it
	acked atomic.Pointer[mark] // the completions of everything through it have run

	wake    chan struct{} // holds a token when there is something to look at
	refuses chan struct{} // closed by Refuse
	refuse  sync.Once
	running sync.WaitGroup

	mu       sync.Mutex
	queue    queue
	replicas map[string]*replica // those that are connected, by name
	durable  uint64              // as many replicas as are needed have everything through it
	scratch  []uint64
	unknown  uint64 // appends that timed out
	closed   bool
	ended    bool // run has ended
}

// mark is a head and a channel that is closed once the head has moved on.
type mark struct {
	head  uint64
	moved chan struct{}
}

// New returns a log over source that acknowledges an append once need replicas, 1 or more, have
// it. Nothing may be appended to source except through the new log, which must be closed after
// source.
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

// Append is that of the log below. done runs once replicas have the entries, on a goroutine of
// this log's own.
func (l *Log) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Source.Append(entries, count, on, l.hold(count, done))
}

// Submit is that of the log below. done runs as that of Append does.
func (l *Log) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Source.Submit(entries, count, on, l.hold(count, done))
}

// Head returns the index of the last entry that readers may see: it moves right before the
// completion of that entry's append runs.
func (l *Log) Head(context.Context) (uint64, error) { return l.head.Load(), nil }

// Acked returns the index of the last entry of which the completion has run. moved is closed once
// there is a later one.
func (l *Log) Acked() (head uint64, moved <-chan struct{}) {
	m := l.acked.Load()
	return m.head, m.moved
}

// Local is Acked of the log below: what replicas see.
func (l *Log) Local() (head uint64, moved <-chan struct{}) { return l.Source.Acked() }

// hold returns the completion for the log below: it puts the append into the queue.
func (l *Log) hold(count int, done func(appends.Result, error)) func(appends.Result, error) {
	return func(stored appends.Result, err error) {
		h := held{stored: stored, err: err, done: done, due: time.Now().Add(l.timeout)}
		switch {
		case len(stored.Once) > 0: // whatever err is, an entry with an index has it
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
		if ended { // so the log below has refused it
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

// take takes from the front of the queue what can be told at the time now: what replicas have,
// or what it makes no sense to wait for any longer. The caller holds mu.
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

// complete runs completions, and then shows the entries to followers.
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

// UnknownError: an append is on this machine's disk, but fewer replicas than are needed have said
// that it is on theirs.
type UnknownError struct {
	Last       uint64 // the index of the last entry
	Need, Have int    // how many replicas
	Why        string // why it waits no longer
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("outcome unknown: it is on this server's disk, through index %d, but %d of %d replicas had it %s", e.Last, e.Have, e.Need, e.Why)
}

// Refuse is for a server that has to end in time: from now on no append waits for replicas. Those
// that do are unknown.
func (l *Log) Refuse() { l.refuse.Do(func() { close(l.refuses) }) }

// Close waits until all completions have run, and ends the log. The log below must have been
// closed, and Refuse bounds the time.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.poke()
	l.running.Wait()
}

// replica is what the connections of one name say.
type replica struct {
	conns   map[*uint64]struct{} // what each has on disk
	durable uint64               // the greatest of these
	spoken  bool                 // it has said so
}

// Join adds a replica. durable notes that it has everything through index on disk, and leave that
// it is gone. None of them blocks. Connections with the same name count as one replica.
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

// count counts again after a change of r. The caller holds mu.
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

// having is how many replicas have everything through index. The caller holds mu.
func (l *Log) having(index uint64) (n int) {
	for _, r := range l.replicas {
		if r.durable >= index {
			n++
		}
	}
	return n
}
