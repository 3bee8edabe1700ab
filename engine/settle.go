package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"tcp-log-server/segment"
)

const (
	// settleChunk is how many entries are settled by one sync of the index: the records
	// of one full index file.
	settleChunk = segment.RecordsPerFile
	// settleBytes is how many bytes of blobs are written between syncs.
	settleBytes = 16 << 20
	// settleYield is how many entries are hashed without yielding.
	settleYield = 64
	// While appends come in, they go first. The backlog is settled at the rate that would
	// clear it within settleRounds times SettleEvery: bursts pass first, and under steady
	// load the rate evens out. A blob file costs the machine as much as a hundred appends
	// or more, a record less than half of one.
	settleRounds = 1920
	// settleBusy and settleBusyPacked are the fewest entries settled in SettleEvery.
	settleBusy       = 16
	settleBusyPacked = 4096
	// settleStretch is how many are settled without a pause while appends come in, less
	// than a millisecond of hashing; with files it is settleBusy.
	settleStretch = 1024
	// While it is quiet, settleQuiet or settleChunk entries are settled at a time,
	// without a pause.
	settleQuiet = 1024
	// Each sync of the settler delays those of appends for as long as it takes. While
	// appends come in the settler syncs once in settleSync pauses.
	settleSync = 20
	// quiet is how long no batch must have been committed for the log to count as quiet.
	quiet = 50 * time.Millisecond
	// settleRetryMin and settleRetryMax bound the wait after a failure.
	settleRetryMin = time.Second
	settleRetryMax = time.Minute
	// settleAtClose is how long Close lets the settler go on. The next start settles the
	// rest.
	settleAtClose = time.Second
)

// settler follows the head like any reader, and gives each entry its place outside the
// segments: its record in the index and, while there is room for more loose ones, its
// blob. Blobs are synced before the records that name them, and the records before the
// mark moves.
type settler struct {
	d    *disk
	l    *Log
	ctx  context.Context  // of reads and of a remote store; ends soon after the store closes
	recs []segment.Record // of settled+1, settled+2, …: not yet in the index
	puts int              // blobs put since the last flush
	size int              // and the bytes in them
	last time.Time        // when that was
	// doubt is the last entry whose blob may exist only in the page cache: put by the
	// previous process, or before a sync failed.
	doubt uint64

	notedMu sync.Mutex
	noted   [256]bool // by shard: obstructed has reported it

	putter  putter
	claimed bool          // a remote store is this log's, and its blobs are counted
	proven  uint64        // the last entry whose blob has been read back from a remote store
	again   time.Duration // after which remove has more to do, 0 if nothing is due soon

	seen  map[uint64]time.Time // by first index: when a segment was first found settled
	stuck bool                 // a segment could not be removed: no more are

	compared compared
}

// run settles until the store closes.
func (s *settler) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.ctx = ctx
	s.d.work.Go(func() { s.bound(ctx, cancel) })
	s.last = time.Now()
	s.compared = compared{next: 1, last: s.d.settled.Load()}
	retry := settleRetryMin
	for closing := false; !closing; {
		if s.l.isRefusing() {
			return // the next start settles the rest
		}
		head, moved := s.l.Acked()
		if head <= s.d.settled.Load() {
			s.remove()
			wait := max(s.d.cfg.RemoveAfter, s.d.cfg.SettleEvery, time.Millisecond)
			if s.again > 0 {
				wait = min(wait, s.again)
			}
			if s.compared.due() {
				s.compare()
				wait = min(wait, compareEvery)
			}
			var ready chan struct{}
			if s.d.overfull() {
				ready, wait = s.d.evictor.ready, min(wait, evictRetryMin)
			}
			select {
			case <-moved:
			case <-ready:
			case <-time.After(wait):
			case <-s.d.stop:
				closing = true
			case <-s.l.refuses:
				return
			}
			continue
		}
		err := s.reopen()
		if err == nil {
			err = s.claim(ctx)
		}
		busy := s.l.busy()
		entries, rest := s.dose(busy, head)
		if err == nil {
			err = s.settle(ctx, min(head, s.next()-1+entries))
		}
		if err == nil && (!busy || time.Since(s.last) > settleSync*s.d.cfg.SettleEvery) {
			err = s.flush()
		}
		if ctx.Err() != nil {
			break // the log is closing, and the store did not answer in time
		}
		s.d.stalled.Store(&err)
		if err != nil {
			s.d.log.Error().Err(err).Str("event", "settle").Stringer("retry", retry).
				Uint64("settled", s.d.settled.Load()).Msg("entries stay in their segments for the time being")
			s.doubt = max(s.doubt, s.next()-1)
			s.forget()
			closing = s.pause(retry)
			retry = min(2*retry, settleRetryMax)
			continue
		}
		retry = settleRetryMin
		s.remove()
		if busy || head < s.next() {
			closing = s.pause(rest)
		}
	}
	if s.l.isRefusing() {
		return
	}
	err := s.reopen()
	if err == nil {
		err = s.claim(ctx)
	}
	if err == nil {
		err = s.settle(ctx, s.l.head.Load())
	}
	if s.l.isRefusing() {
		return
	}
	if err == nil || ctx.Err() != nil {
		err = s.flush() // as far as it got
	}
	if err != nil {
		s.d.log.Error().Err(err).Str("event", "settle").Msg("entries stay in their segments until the next start")
	}
}

// bound ends ctx once the settler has had its time after the store began to close.
func (s *settler) bound(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-s.d.stop:
	case <-ctx.Done():
		return
	}
	t := time.NewTimer(settleAtClose)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.l.refuses:
	case <-ctx.Done():
	}
	cancel()
}

// dose returns how many entries to settle before checking again, and for how long to rest
// then while appends come in.
func (s *settler) dose(busy bool, head uint64) (entries uint64, rest time.Duration) {
	files, stretch := s.writesBlobs(), uint64(settleStretch)
	rest = s.d.cfg.SettleEvery
	switch {
	case busy && files:
		stretch = settleBusy
		waiting := head - (s.next() - 1)
		if s.d.cfg.LooseMax > 0 {
			waiting = min(waiting, uint64(s.d.cfg.LooseMax-s.d.loose))
		}
		entries = max(settleBusy, waiting/settleRounds)
	case busy:
		entries = max(settleBusyPacked, (head-(s.next()-1))/settleRounds)
	case files:
		return settleQuiet, rest
	default:
		return settleChunk, rest
	}
	if entries > stretch {
		entries, rest = stretch, time.Duration(float64(rest)*float64(stretch)/float64(entries))
	}
	return entries, rest
}

// pause waits; closing means that the store is closing. It ends early if the log refuses.
func (s *settler) pause(wait time.Duration) (closing bool) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-s.l.refuses:
		return false
	case <-s.d.stop:
		return true
	}
}

// next returns the index of the entry after those in recs.
func (s *settler) next() uint64 { return s.d.settled.Load() + uint64(len(s.recs)) + 1 }

// forget drops whatever is not in the index: the next settle begins again there.
func (s *settler) forget() {
	_ = s.arrive()
	s.putter.failed = nil
	s.recs, s.puts, s.size = s.recs[:0], 0, 0
}

// settle adds the entries up to head to recs, and writes their blobs. The next flush
// settles the entries in recs.
func (s *settler) settle(ctx context.Context, head uint64) error {
	from := s.next()
	if from > head {
		return nil
	}
	r := &reader{disk: s.d, ctx: ctx, next: from, through: head}
	defer r.close()
	r.fn = func(first uint64, count int, entries []byte, time int64, err error) error {
		if errors.Is(err, ErrLost) {
			return s.lost(count, time)
		}
		if err != nil {
			return fmt.Errorf("index %d: %w", first, err)
		}
		for range count {
			n := lineEnd(entries)
			if err := s.entry(entries[:n-1], time); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			entries = entries[n:]
		}
		return nil
	}
	return r.run()
}

// lost settles entries that fsck has recorded as lost: their records have no hash and no
// size.
func (s *settler) lost(count int, at int64) error {
	for range count {
		s.recs = append(s.recs, segment.Record{Time: at})
	}
	return nil
}

// entry settles one entry, the one after those in recs.
func (s *settler) entry(entry []byte, at int64) error {
	hash := segment.Sum(entry)
	put := s.putFile
	if s.d.remote() {
		put = s.putRemote
	}
	if err := put(hash, entry); err != nil {
		return err
	}
	s.recs = append(s.recs, segment.Record{Hash: hash, Time: at, Size: uint32(len(entry))})
	if len(s.recs)%settleYield == 0 {
		// Goroutines that wait for a processor go first: left to itself the scheduler
		// would make them wait for 10 ms.
		runtime.Gosched()
	}
	if len(s.recs) >= settleChunk || s.size >= settleBytes {
		return s.flush()
	}
	return nil
}

// flush makes what was settled durable and moves the mark.
func (s *settler) flush() error {
	if len(s.recs) == 0 {
		return nil
	}
	if err := s.syncBlobs(); err != nil {
		return err
	}
	if err := s.d.index.Append(s.recs); err != nil {
		return err
	}
	if s.d.cfg.LooseMax >= 0 {
		s.d.looseN.Store(int64(s.d.loose)) // before the mark: an entry that is seen as settled has been counted
	}
	through := s.d.settled.Add(uint64(len(s.recs)))
	s.d.log.Debug().Str("event", "settled").Uint64("through", through).
		Int("entries", len(s.recs)).Int("blobs", s.puts).Send()
	s.forget()
	s.last = time.Now()
	return nil
}
