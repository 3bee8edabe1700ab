package replica

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// roomMax is how many bytes of batches may wait for the disk. When that many wait, nothing is read
// from the source, and up to twice as many are in memory: those that wait and those being stored.
const roomMax = 4 << 20

// batchesMax bounds how many batches wait: without it, a log of tiny batches would fill roomMax
// with them.
const batchesMax = 64 << 10

// storer makes received batches durable. While it stores, the next batches gather, so one sync
// serves many when the source is far ahead.
type storer struct {
	replica *Replica
	nc      net.Conn
	epochs  []appends.Epoch // of the source
	head    uint64          // the last durable entry; like next, used by run only
	next    uint64          // first entry of the first epoch that is not recorded

	wake chan struct{} // holds a token when a batch waits
	room chan struct{} // holds a token when there may be room again

	mu      sync.Mutex
	waiting gathered
}

// gathered holds batches, with their entries one after the other.
type gathered struct {
	entries []byte
	batches []engine.ReplicaBatch // without their entries
	ends    []int                 // the end of each in entries
}

func (g *gathered) full() bool { return len(g.entries) >= roomMax || len(g.batches) >= batchesMax }

// all returns the batches with their entries, which share g's memory.
func (g *gathered) all() []engine.ReplicaBatch {
	begin := 0
	for i, end := range g.ends {
		g.batches[i].Entries = g.entries[begin:end:end]
		begin = end
	}
	return g.batches
}

// reset empties g. It keeps the memory, unless that is unusually large.
func (g *gathered) reset() {
	if cap(g.entries) > 4*roomMax {
		g.entries = nil
	}
	g.entries, g.batches, g.ends = g.entries[:0], g.batches[:0], g.ends[:0]
}

func newStorer(r *Replica, nc net.Conn, epochs []appends.Epoch, head uint64) *storer {
	return &storer{replica: r, nc: nc, epochs: epochs, head: head, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds a batch to those that wait, with a copy of its entries. It waits for room.
func (s *storer) put(ctx context.Context, b engine.ReplicaBatch) error {
	for {
		s.mu.Lock()
		if g := &s.waiting; !g.full() {
			g.entries = append(g.entries, b.Entries...)
			b.Entries = nil
			g.batches, g.ends = append(g.batches, b), append(g.ends, len(g.entries))
			s.mu.Unlock()
			signal(s.wake)
			return nil
		}
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// signal leaves a token in the channel.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns the waiting batches and puts taken, which is empty, in their place.
func (s *storer) take(taken gathered) gathered {
	s.mu.Lock()
	taken, s.waiting = s.waiting, taken
	s.mu.Unlock()
	signal(s.room)
	return taken
}

// run stores the batches of put until ctx ends, including those received just before. It tells the
// source what is durable: at once, after each store, and from time to time as a sign of life.
func (s *storer) run(ctx context.Context) error {
	alive := time.NewTicker(s.replica.pace.durable)
	defer alive.Stop()
	if err := s.setEpochs(); err != nil {
		return err
	}
	var taken gathered
	var gone error // why the source cannot be told; its input is still readable
	for {
		if gone == nil {
			gone = s.tell()
		}
		if errors.Is(gone, os.ErrDeadlineExceeded) {
			return gone
		}
		select {
		case <-s.wake:
		case <-alive.C:
			continue
		case <-ctx.Done():
			return s.last(ctx)
		}
		taken.reset()
		taken = s.take(taken)
		if err := s.store(taken.all()); err != nil {
			return err
		}
	}
}

// last stores what arrived before the conversation ended, and returns why it ended: the source may
// not come back, and this may be all that is left of it. After a difference it stores nothing.
func (s *storer) last(ctx context.Context) error {
	why := context.Cause(ctx)
	if !errors.Is(why, errDiffer) {
		taken := s.take(gathered{})
		if err := s.store(taken.all()); err != nil {
			return err
		}
	}
	return why
}

// tell tells the source through which entry the log is durable.
func (s *storer) tell() error {
	var room [32]byte
	if err := s.nc.SetWriteDeadline(time.Now().Add(s.replica.pace.silence)); err != nil {
		return err
	}
	_, err := s.nc.Write(appendDurable(room[:0], s.head))
	return err
}

// store makes the batches durable. If an epoch of the source begins within them, it is recorded
// once everything before it is durable, and before its first entry is stored.
func (s *storer) store(batches []engine.ReplicaBatch) error {
	for len(batches) > 0 {
		if s.head+1 >= s.next {
			if err := s.setEpochs(); err != nil {
				return err
			}
		}
		n, last := 0, s.head
		for n < len(batches) && (n == 0 || last+1 < s.next) {
			last += uint64(batches[n].Count)
			n++
		}
		if err := s.replica.config.Log.Replicate(s.head+1, batches[:n]); err != nil {
			return storeError(err)
		}
		s.head = last
		s.replica.state.stored(last)
		batches = batches[n:]
	}
	return nil
}

// setEpochs records the source's epochs that begin no later than the entry after the head. Later
// ones are recorded when the log reaches them: until then this replica itself can be promoted.
func (s *storer) setEpochs() error {
	log := s.replica.config.Log
	n := 0
	for n < len(s.epochs) && s.epochs[n].First <= s.head+1 {
		n++
	}
	if s.next = math.MaxUint64; n < len(s.epochs) {
		s.next = s.epochs[n].First
	}
	fence, _ := log.Fenced()
	if fence > 0 {
		n = len(s.epochs) // a fenced log stores nothing unless the source has the epoch that fenced it
	}
	if n <= len(log.Epochs()) && fence == 0 {
		return nil
	}
	if err := log.SetEpochs(s.epochs[:n]); err != nil {
		return stopf("the epochs of %s: %v", s.replica.config.Source, err)
	}
	last := s.epochs[n-1]
	s.replica.config.Logger.Info().Str("event", "replication").Uint64("epoch", last.Number).Uint64("first", last.First).Msg("in a new epoch of the source")
	return nil
}

// storeError returns the error of a conversation that ends because the log failed to store: a full
// disk may have room again later, but a failed log must be reopened.
func storeError(err error) error {
	if errors.Is(err, engine.ErrFailed) || errors.Is(err, engine.ErrUnknown) {
		return stopf("the replica's own log: %v", err)
	}
	return err
}
