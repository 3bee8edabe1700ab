package replicated

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// appended is what an append becomes.
type appended struct {
	entries []byte
	count   int
	on      appends.Condition
	done    func(appends.Result, error)

	// With appends.Once: the hashes of the entries; and their places once it has been looked up,
	// without an index where none was found in the messages through batch.message.arg.
	hashes []hash
	places []appends.Place

	resolved bool // under lane.mu: what is below is set, and done runs when its turn has come
	result   appends.Result
	err      error
}

// batch is the appends of one message.
type batch struct {
	appends []*appended
	message message
	data    []byte // the message as it is stored

	at      atomic.Uint64 // where in the stream it is, once it has been passed
	counted chan struct{} // closed then, or when it is known that it never will be
	once    sync.Once     // closes it
	stale   bool          // with appends.Once: it is void, and is to be looked up and sent again; before counted

	cancel atomic.Pointer[context.CancelFunc] // ends the attempt that is under way

	told bool // the callers know that the outcome is unknown; under lane.mu

	acked time.Time // when it was; of the sending goroutine
}

const (
	// batchBytes is how many bytes of entries a message has at most, unless one append has more.
	batchBytes = 512 << 10
	// batchCount is how many entries a message has at most, unless one append has more.
	batchCount = 16 << 10
	// natsHeader is more than a message's header for NATS takes, in bytes.
	natsHeader = 512
)

// take makes a batch of what has waited longest. It returns nil if nothing waits.
func (n *lane) take() *batch {
	n.mu.Lock()
	if len(n.queue) == 0 {
		n.mu.Unlock()
		return nil
	}
	first := n.queue[0]
	b := &batch{message: message{kind: first.on.Kind, lane: n.id, number: n.number + 1}, counted: make(chan struct{})}
	size, most := 0, min(batchBytes, n.log.MaxAppend())
	for i, a := range n.queue {
		if a.on.Kind != first.on.Kind || i > 0 && (first.on.Kind == appends.Expect || size+len(a.entries) > most || b.message.count+a.count > batchCount) {
			break
		}
		b.appends = append(b.appends, a)
		size += len(a.entries)
		b.message.count += a.count
	}
	taken := len(b.appends)
	n.queued -= b.message.count
	clear(n.queue[:taken])
	if n.queue = n.queue[taken:]; len(n.queue) == 0 {
		n.queue = nil
	}
	n.mu.Unlock()
	return b
}

// entries returns how many entries the appends of b have, including those that the log holds already.
func (b *batch) entries() (count int) {
	for _, a := range b.appends {
		count += a.count
	}
	return count
}

// prepare makes the message of b. It returns false if nothing of b is to be sent: it has been
// resolved.
func (n *lane) prepare(b *batch) bool {
	m := &b.message
	m.hint = n.log.counted()
	var parts [][]byte
	switch m.kind {
	case appends.Expect:
		m.arg = b.appends[0].on.Head
		parts = append(parts, b.appends[0].entries)
	case appends.Once:
		m.arg = m.hint.seq
		if err := n.log.once.lookUp(b.appends); err != nil {
			n.refuseBatch(b, err)
			return false
		}
		m.count = 0
		for _, a := range b.appends {
			for i, rest := 0, a.entries; len(rest) > 0; i++ {
				end := lineEnd(rest)
				if a.places[i].Index == 0 {
					m.body = append(m.body, rest[:end]...)
					m.count++
				}
				rest = rest[end:]
			}
		}
	default:
		for _, a := range b.appends {
			parts = append(parts, a.entries)
		}
	}
	m.time = time.Now().UnixMicro()
	b.data = m.encode(parts...) // whose body nobody changes, even after the appends have been completed
	return true
}

// settle says that b has been passed, or never will be: nobody need wait for its acknowledgement.
func (b *batch) settle() {
	b.once.Do(func() { close(b.counted) })
	if cancel := b.cancel.Load(); cancel != nil {
		(*cancel)()
	}
}

func (b *batch) isCounted() bool {
	select {
	case <-b.counted:
		return true
	default:
		return false
	}
}

// passed completes the appends of a batch by its verdict.
func (n *lane) passed(b *batch, v *verdict) {
	n.mu.Lock()
	b.stale = v.void && !v.stray && v.kind == appends.Once
	if !b.told && !b.stale {
		b.resolve(n.log.once, v)
	}
	n.mu.Unlock()
	b.at.Store(v.seq)
	b.settle()
	n.complete()
}

// resolve sets what has become of the appends of b. The caller holds lane.mu.
func (b *batch) resolve(known *once, v *verdict) {
	next, number := v.first, 0
	for _, a := range b.appends {
		a.resolved = true
		if v.stray {
			a.err = fmt.Errorf("not stored: %w", errAhead)
			continue
		}
		if v.void {
			a.err = &appends.ConditionError{Head: v.before.index, Want: a.on.Head}
			continue
		}
		a.result = appends.Result{First: next, Time: v.time}
		if a.on.Kind == appends.Once {
			next, number = a.placeEach(known, v, next, number)
		} else {
			next += uint64(a.count)
		}
		if next == a.result.First {
			a.result.Time = 0
		}
	}
}

// placeEach sets the places of an append with appends.Once: of those of its entries that were
// sent, the first has this number in the message, and what counts has next and what follows.
func (a *appended) placeEach(known *once, v *verdict, next uint64, number int) (uint64, int) {
	for i := range a.places {
		p := &a.places[i]
		if p.Index != 0 {
			continue
		}
		if v.fresh == nil || v.fresh[number] {
			*p = appends.Place{Index: next, Time: v.time}
			next++
		} else if found, ok := known.lately(a.hashes[i]); ok {
			*p = found
		} else {
			a.err = errors.New("outcome unknown: the log holds an entry already, and this server does not know where: send it again")
		}
		number++
	}
	a.result.Once = a.places
	return next, number
}

// replaced is passed for a batch that was acknowledged and whose message the stream does not have.
func (n *lane) replaced(b *batch) {
	n.refuse(b, errors.New("outcome unknown: the cluster acknowledged it, and has another message in its place"))
}

// refuse fails what is left of a batch that nobody need wait for any more.
func (n *lane) refuse(b *batch, err error) {
	n.mu.Lock()
	n.tell(b, err)
	n.mu.Unlock()
	b.settle()
	n.complete()
}

// tell fails those appends of b that have not been resolved. The caller holds lane.mu.
func (n *lane) tell(b *batch, err error) {
	b.told = true
	for _, a := range b.appends {
		if !a.resolved {
			a.fail(err)
		}
	}
}

// refuseBatch fails the appends of a batch that is not sent.
func (n *lane) refuseBatch(b *batch, err error) {
	n.mu.Lock()
	n.tell(b, err)
	n.mu.Unlock()
	n.complete()
}

// fail says that an append has failed. The caller holds lane.mu. Entries that the log was found to
// hold have their places all the same.
func (a *appended) fail(err error) {
	a.resolved, a.err = true, err
	a.result.Once = a.places
}

// hash sets the hashes of an append.
func (a *appended) hash() {
	a.hashes = make([]hash, 0, a.count)
	for rest := a.entries; len(rest) > 0; {
		n := lineEnd(rest)
		a.hashes = append(a.hashes, segment.Sum(rest[:n-1]))
		rest = rest[n:]
	}
}

// errTooLong is why an append is refused whose entries do not fit into a message.
func errTooLong(size, most int) error {
	return fmt.Errorf("not stored: it has %d bytes, over the limit of %d of a message in the cluster", size, most)
}
