package replicated

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A run of messages is fetched in batches, with several requests under way.
const (
	fetchBytes = 1 << 20 // in one request, roughly
	fetchMax   = 1024    // messages in one request
	fetchAhead = 4       // requests under way while a batch is passed
	// fetchLeast is how many bytes a request may bring even if the budget is used up.
	fetchLeast = 64 << 10
)

// fetching is a request under way for part of a run.
type fetching struct {
	from, through uint64
	most          int            // how many bytes it may bring
	taken         int            // how many of these the budget gave
	got           chan []message // the longest prefix that arrived whole and fits, in order
}

// fetchRun passes the messages from..through to fn, in order, including the LostError of a message. fn's
// error ends the run. The first request is small, since most runs are short. While fn runs, which may be
// as long as a peer likes, the run holds that message, what the budget gave it, and up to fetchLeast bytes.
func (l *Log) fetchRun(ctx context.Context, from, through uint64, fn func(seq uint64, m *message, err error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	own := share{of: &l.budget}
	defer func() {
		cancel()
		running.Wait()
		own.give(own.bytes)
	}()
	size, average, largest := near, l.messageBytes(), 0 // the latter are bytes of the latest messages
	var under []fetching
	next, ahead := from, 1
	request := func(idle bool) { // idle: nothing is passed at present
		for next <= through && len(under) < ahead {
			needed := idle && len(under) == 0
			f := fetching{from: next, taken: own.take(max(2*fetchBytes, largest)), got: make(chan []message, 1)}
			if !needed && f.taken <= largest {
				own.give(f.taken)
				return
			}
			f.most = max(f.taken, fetchLeast)
			f.through = min(through, next+uint64(min(size, max(1, f.most/2/average)))-1)
			next = f.through + 1
			running.Go(func() { f.got <- l.fetchBatch(ctx, f.from, f.through, f.most, needed) })
			under = append(under, f)
		}
	}
	for request(true); len(under) > 0; request(true) {
		now := under[0]
		under = under[1:]
		got := <-now.got
		if len(got) > 0 {
			n := 0
			largest = 0
			for i := range got {
				n += got[i].memory()
				largest = max(largest, got[i].memory())
			}
			average, size, ahead = n/len(got), min(fetchMax, 4*size), min(ahead+1, fetchAhead)
		}
		request(false)
		err := l.passBatch(ctx, &now, got, func(seq uint64, m *message, err error) error {
			if err == nil {
				largest = max(largest, m.memory()) // it may be one that did not fit
			}
			return fn(seq, m, err)
		})
		if err != nil {
			return err
		}
		own.give(now.taken)
	}
	return nil
}

// passBatch passes the messages of f to fn. got holds the first of them; the others did not arrive, were
// damaged, or did not fit.
func (l *Log) passBatch(ctx context.Context, f *fetching, got []message, fn func(seq uint64, m *message, err error) error) error {
	for next := f.from; ; {
		more := 2*uint64(len(got)) + 1
		for i := range got {
			m := got[i]
			got[i] = message{}
			if err := fn(next, &m, nil); err != nil {
				return err
			}
			next++
		}
		if len(got) == 0 {
			m, err := l.fetch(ctx, next)
			var lost *LostError
			if err != nil && !errors.As(err, &lost) {
				return err
			}
			if err := fn(next, &m, err); err != nil {
				return err
			}
			next++
		}
		if next > f.through {
			return nil
		}
		got = l.fetchBatch(ctx, next, min(f.through, next+more-1), f.most, true)
	}
}

// leaderAhead is how many messages are requested from the leader at once if there is room: it does not
// serve batches.
const leaderAhead = 8

// fetchBatch asks any replica for the messages from..through, or the leader for the first few, once. It
// returns the longest prefix that arrived whole and takes at most most bytes, or the first message,
// however large, if that is needed.
func (l *Log) fetchBatch(ctx context.Context, from, through uint64, most int, needed bool) []message {
	messages := make([]message, 0, through-from+1)
	room := most
	keep := func(m message) bool {
		room -= m.memory()
		if room < 0 && (!needed || len(messages) > 0) {
			return false
		}
		messages = append(messages, m)
		return true
	}
	if l.isSlow() {
		l.batchOfLeader(ctx, from, through, most, keep)
	} else {
		l.batchOfAny(ctx, from, through, most, keep)
	}
	return messages
}

// batchOfLeader is fetchBatch from the leader.
func (l *Log) batchOfLeader(ctx context.Context, from, through uint64, most int, keep func(message) bool) {
	ahead := max(1, min(leaderAhead, most/(fetchBytes/4)))
	messages := make([]message, min(through-from+1, uint64(ahead)))
	errs := make([]error, len(messages))
	var asking sync.WaitGroup
	for i := range messages {
		asking.Go(func() { messages[i], errs[i] = l.ask(ctx, from+uint64(i), true) })
	}
	asking.Wait()
	for i, err := range errs {
		if errors.Is(err, errMessage) {
			l.damaged(from+uint64(i), err)
		}
		if err != nil || !keep(messages[i]) {
			return
		}
	}
}

// batchOfAny is fetchBatch from the replica that NATS chooses. most counts the bytes on the wire for NATS,
// and they may unpack to far more, so it stops once keep has enough.
func (l *Log) batchOfAny(ctx context.Context, from, through uint64, most int, keep func(message) bool) {
	inbox := l.conn.NewRespInbox()
	answers := make(chan *nats.Msg, through-from+2) // one tells that no more come
	sub, err := l.conn.ChanSubscribe(inbox, answers)
	if err != nil {
		return
	}
	defer sub.Unsubscribe()
	body, _ := json.Marshal(getRequest{Seq: from, Batch: int(through - from + 1), MaxBytes: most})
	if err := l.conn.PublishRequest(l.api+"DIRECT.GET."+l.config.Stream, inbox, body); err != nil {
		return
	}
	began := time.Now()
	defer func() {
		if ctx.Err() == nil {
			l.noteTime(began, false)
		}
	}()
	soon, end := time.NewTimer(anyTimeout), time.After(apiTimeout)
	defer soon.Stop()
	for next := from; next <= through; next++ {
		var answer *nats.Msg
		select {
		case answer = <-answers:
		case <-soon.C:
			return
		case <-end:
			return
		case <-ctx.Done():
			return
		}
		soon.Reset(anyTimeout)
		if answer.Header.Get("Status") != "" {
			return
		}
		if seq, err := strconv.ParseUint(answer.Header.Get("Nats-Sequence"), 10, 64); err != nil || seq != next {
			return
		}
		m, err := decode(answer.Data, next)
		if errors.Is(err, errMessage) {
			l.damaged(next, err)
		}
		if err != nil || !keep(m) {
			return
		}
	}
}
