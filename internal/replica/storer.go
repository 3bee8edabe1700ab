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

// roomMax is how many bytes of batches may wait for the disk. While so many wait, nothing is read
// from the source, and twice as many are in memory: those that wait and those that are being stored.
const roomMax = 4 << 20

// batchesMax bounds how many batches wait: a log of tiny batches would fill roomMax with them.
const batchesMax = 64 << 10

// storer makes durable what has been received: while it stores, the next batches gather, so one
// sync is for many when the source is far ahead.
type storer struct {
	replica *Replica
	nc      net.Conn
	epochs  []appends.Epoch // of the source
	head    uint64          // the last entry that is durable; run's, and next too
	next    uint64          // where the first epoch begins that is not recorded

	wake chan struct{} // holds a token when something waits
	room chan struct{} // holds a token when there may be room again

	mu      sync.Mutex
	waiting gathered
}

// gathered are batches, their entries one after the other.
type gathered struct {
	entries []byte
	batches []engine.ReplicaBatch // without their entries
	ends    []int                 // where in entries each ends
}

func (g *gathered) full() bool { return len(g.entries) >= roomMax || len(g.batches) >= batchesMax }

// all returns the batches with their entries, and empties g, which keeps its memory.
func (g *gathered) all() []engine.ReplicaBatch {
	begin := 0
	for i, end := range g.ends {
		g.batches[i].Entries = g.entries[begin:end:end]
		begin = end
	}
	return g.batches
}

// reset empties g. Memory for a batch of unusual size is not kept.
func (g *gathered) reset() {
	if cap(g.entries) > 4*roomMax {
		g.entries = nil
	}
	g.entries, g.batches, g.ends = g.entries[:0], g.batches[:0], g.ends[:0]
}

func newStorer(r *Replica, nc net.Conn, epochs []appends.Epoch, head uint64) *storer {
	return &storer{replica: r, nc: nc, epochs: epochs, head: head, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds a batch, whose entries are copied, to those that wait. It waits for room.
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

// take exchanges what waits for taken, which is empty.
func (s *storer) take(taken gathered) gathered {
	s.mu.Lock()
	taken, s.waiting = s.waiting, taken
	s.mu.Unlock()
	signal(s.room)
	return taken
}

// run stores what is put until ctx ends, what was received before that too, and tells the source how
// far it is durable: at once, after each time it has stored something, and now and then so that the
// source knows that it is there.
func (s *storer) run(ctx context.Context) error {
	alive := time.NewTicker(s.replica.pace.durable)
	defer alive.Stop()
	if err := s.setEpochs(); err != nil {
		return err
	}
	var taken gathered
	var gone error // why the source cannot be told anything: what it has sent can still be read
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

// last stores what has arrived when the conversation has ended, and returns why that was: the source
// may not come back, and it is all that is left of it. But nothing is stored after a difference.
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

// tell tells the source how far the log is durable.
func (s *storer) tell() error {
	var room [32]byte
	if err := s.nc.SetWriteDeadline(time.Now().Add(s.replica.pace.silence)); err != nil {
		return err
	}
	_, err := s.nc.Write(appendDurable(room[:0], s.head))
	return err
}

// store makes the batches durable. An epoch of the source's that begins among them is recorded
// when everything before it is durable, and before its first entry is stored.
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

// setEpochs records the epochs of the source that have begun with the entry after the head. Later
// ones are not recorded before the log gets there: until then it can be promoted itself.
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
		n = len(s.epochs) // nothing is stored in a log that is fenced, unless the source knows why it is
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

// storeError is the error of a conversation that ends because the log has not stored something:
// after a while there may be room on the disk, but a log that has failed must be opened again.
func storeError(err error) error {
	if errors.Is(err, engine.ErrFailed) || errors.Is(err, engine.ErrUnknown) {
		return stopf("the replica's own log: %v", err)
	}
	return err
}
