package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// memory is a log in memory, which takes appends on its own goroutine. A fault makes it break the
// contract in one way.
type memory struct {
	fault string
	kept  *kept

	running sync.WaitGroup

	mu     sync.Mutex
	queue  []call
	wake   *sync.Cond
	closed bool
	head   uint64
	acked  uint64
	moved  chan struct{}
}

// kept is what survives closing the log.
type kept struct {
	mu      sync.Mutex
	entries []string
	times   []int64
}

// call is one append.
type call struct {
	entries []byte
	count   int
	on      appends.Condition
	done    func(appends.Result, error)
}

const memoryMax = 1 << 20

// openMemory opens the log that keeps k.
func openMemory(k *kept, fault string) *memory {
	l := &memory{fault: fault, kept: k, moved: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	k.mu.Lock()
	l.head = uint64(len(k.entries))
	k.mu.Unlock()
	l.acked = l.head
	l.running.Go(l.run)
	return l
}

// harness returns the harness of a log with a fault, and its patience.
func harness(fault string, patience time.Duration) Harness {
	k := &kept{}
	l := openMemory(k, fault)
	return Harness{
		Log:      l,
		Close:    func(testing.TB) { l.close() },
		Reopen:   func(testing.TB) Log { return openMemory(k, strings.TrimPrefix(fault, "late: ")) },
		Patience: patience,
	}
}

func (l *memory) MaxAppend() int { return memoryMax }

func (l *memory) Known() uint64 {
	if l.fault == "known" {
		return 0
	}
	head, _ := l.Head(context.Background())
	return head
}

func (l *memory) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Submit(entries, count, on, done)
}

func (l *memory) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	if count == 0 && l.fault == "nothing" {
		done(appends.Result{First: 1 << 40}, nil)
		return
	}
	c := call{entries, count, on, done}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.queue = append(l.queue, c)
		l.wake.Signal()
	}
	l.mu.Unlock()
	switch {
	case !closed:
	case l.fault == "silent after close":
	case l.fault == "vague after close":
		done(appends.Result{}, errors.New("closed"))
	default:
		done(appends.Result{}, errors.New("not stored: closed"))
	}
}

// run takes waiting appends, and stores them.
func (l *memory) run() {
	for n := 0; ; n++ {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.closed {
			l.wake.Wait()
		}
		batch := l.queue
		l.queue = nil
		closed := l.closed
		l.mu.Unlock()
		if closed && (len(batch) == 0 || l.fault == "close drops") {
			return
		}
		switch {
		case l.fault == "order" && len(batch) > 1:
			slices.Reverse(batch)
		case l.fault == "split" && len(batch) > 1 && batch[0].on == batch[1].on && batch[0].on.Kind == appends.Always:
			batch[0].entries, batch[1].entries = exchange(batch[0], batch[1])
		}
		for i, c := range batch {
			l.store(c, n+i)
		}
	}
}

// store stores one append and runs its done.
func (l *memory) store(c call, n int) {
	k := l.kept
	k.mu.Lock()
	result, err := l.take(c, n)
	head := uint64(len(k.entries))
	k.mu.Unlock()
	l.mu.Lock()
	before := l.head
	switch l.fault {
	case "head late":
	case "head between":
		if c.count > 1 && head > before+1 {
			l.head = before + 1
			l.mu.Unlock()
			time.Sleep(100 * time.Microsecond)
			l.mu.Lock()
		}
		l.head = head
	default:
		l.head = head
	}
	l.mu.Unlock()
	if l.fault == "acked early" {
		l.publish(head)
	}
	if l.fault == "moved by nothing" && head == before {
		l.mu.Lock()
		close(l.moved)
		l.moved = make(chan struct{})
		l.mu.Unlock()
	}
	switch {
	case l.fault == "never" && n%20 == 19:
	case l.fault == "close drops", l.fault == "close does not wait":
		if n%16 == 0 {
			time.Sleep(100 * time.Microsecond) // so that some wait
		}
		c.done(result, err)
	case l.fault == "twice" && n%20 == 19:
		c.done(result, err)
		c.done(result, err)
	case l.fault == "at once":
		l.running.Go(func() { c.done(result, err) })
	default:
		c.done(result, err)
	}
	if l.fault == "head late" {
		time.Sleep(100 * time.Microsecond)
		l.mu.Lock()
		l.head = head
		l.mu.Unlock()
	}
	l.publish(head)
}

// publish moves the acked head.
func (l *memory) publish(head uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if head > l.acked && l.fault != "never acked" {
		l.acked = head
		if l.fault != "unmoved" {
			close(l.moved)
		}
		l.moved = make(chan struct{})
	}
}

// close ends the log.
func (l *memory) close() {
	l.mu.Lock()
	l.closed = true
	l.wake.Signal()
	l.mu.Unlock()
	if l.fault != "close does not wait" {
		l.running.Wait()
	}
	k := l.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.entries)
	switch l.fault {
	case "close loses":
		k.entries, k.times = k.entries[:n/2], k.times[:n/2]
	case "close forgets times":
		for i := range k.times {
			k.times[i] = 1
		}
	case "close adds":
		k.entries, k.times = append(k.entries, `{}`), append(k.times, k.times[n-1])
	}
}

func (l *memory) AwaitOnce(ctx context.Context) error {
	switch l.fault {
	case "await":
		select {}
	case "await fails":
		return errors.New("no")
	}
	return nil
}

func (l *memory) Head(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault == "head short" {
		return l.head - min(l.head, 1), nil
	}
	return l.head, nil
}

func (l *memory) Acked() (uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.moved
}

func (l *memory) Since(_ context.Context, at int64) (uint64, error) {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	i, found := slices.BinarySearch(l.kept.times, at)
	switch {
	case l.fault == "since after" && found, l.fault == "since end" && i > 0 && i == len(l.kept.times):
		return uint64(i), nil
	case l.fault == "since last":
		for found && i+1 < len(l.kept.times) && l.kept.times[i+1] == at {
			i++
		}
	}
	return uint64(i) + 1, nil
}

func (l *memory) Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error {
	l.kept.mu.Lock()
	entries, times := l.kept.entries, l.kept.times
	l.kept.mu.Unlock()
	if from == 0 || through > uint64(len(entries)) {
		return fmt.Errorf("there are no entries %d to %d", from, through)
	}
	if l.fault == "read short" && through > 300 {
		through--
	}
	if l.fault == "read from" && from > 100 {
		from--
	}
	var ended error
	for first := from; first <= through; {
		if err := ctx.Err(); err != nil && l.fault != "read without end" {
			return err
		}
		last, size := first, 0
		for last < through && times[last] == times[first-1] && size < 10_000 {
			size += len(entries[last])
			last++
		}
		run, count := body(entries[first-1:last]), int(last-first)+1
		if l.fault == "read swaps" && count > 2 {
			run = body([]string{entries[first], entries[first-1]})
			run = append(run, body(entries[first+1:last])...)
		}
		if l.fault == "read count" && count > 5 {
			count--
		}
		err := fn(first, count, run, times[first-1], nil)
		if ended == nil {
			ended = err
		}
		if err != nil && l.fault != "read goes on" {
			if l.fault == "read hides" {
				return nil
			}
			return err
		}
		first = last + 1
	}
	return ended
}
