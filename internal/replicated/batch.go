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

// appended is an append in the lane.
type appended struct {
	entries []byte
	count   int
	on      appends.Condition
	done    func(appends.Result, error)

	// With appends.Once: the hashes of the entries, and their places once looked up. A place has no index
	// if the messages through batch.message.arg do not hold the entry.
	hashes []hash
	places []appends.Place

	resolved bool // under lane.mu: the fields below are set, and done runs in its turn
	result   appends.Result
	err      error
}

// batch is the appends of one message.
type batch struct {
	appends []*appended
	message message
	data    []byte // the message as it is stored

	at      atomic.Uint64 // where it is in the stream, once it has been passed
	counted chan struct{} // closed then, or when it will never be passed
	once    sync.Once     // closes it
	stale   bool          // with appends.Once: it is void and must be looked up and sent again; set before counted is closed

	cancel atomic.Pointer[context.CancelFunc] // ends the current attempt

	told bool // the callers have been told that the outcome is unknown; under lane.mu

	acked time.Time // when it was acknowledged; owned by the sending goroutine
}

const (
	// batchBytes is the most bytes of entries in a message, unless a single append has more.
	batchBytes = 512 << 10
	// batchCount is the most entries in a message, unless a single append has more.
	batchCount = 16 << 10
	// natsHeader bounds the size of a message's NATS header, in bytes.
	natsHeader = 512
)

// take makes a batch of the appends that have waited longest. It returns nil if none waits.
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

// entries returns the number of entries in b's appends, including those that the log already holds.
func (b *batch) entries() (count int) {
	for _, a := range b.appends {
		count += a.count
	}
	return count
}

// prepare makes the message of b. It returns false if an error has resolved b, so there is nothing to
// send.
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
	b.data = m.encode(parts...) // nobody changes the body, even after the appends have completed
	return true
}

// settle notes that b has been passed or never will be: nobody needs to wait for its acknowledgement.
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

// passed completes the appends of a batch according to its verdict.
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

// resolve sets the results of b's appends. The caller holds lane.mu.
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

// placeEach sets the places of an append with appends.Once. number is the position in the message of the
// first of its entries that was sent; next is the index of the first new one. It returns both for the
// append that follows.
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

// replaced fails a batch that was acknowledged but whose message is not in the stream.
func (n *lane) replaced(b *batch) {
	n.refuse(b, errors.New("outcome unknown: the cluster acknowledged it, but now has another message in its place"))
}

// refuse fails the rest of a batch that nobody needs to wait for any more.
func (n *lane) refuse(b *batch, err error) {
	n.mu.Lock()
	n.tell(b, err)
	n.mu.Unlock()
	b.settle()
	n.complete()
}

// tell fails the appends of b that have not been resolved. The caller holds lane.mu.
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

// fail fails an append. The caller holds lane.mu. Entries that the log already holds keep their places.
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

// errTooLong returns the error for an append whose entries do not fit into a message.
func errTooLong(size, most int) error {
	return fmt.Errorf("not stored: it has %d bytes; a message of the cluster holds at most %d", size, most)
}
