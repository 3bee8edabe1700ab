package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// What a log is among its copies: a log of its own or a replica, in which epoch, and whether
// another copy has begun a later one.

// ErrFenced: a replica of the log was promoted, so the entries that come next are that log's,
// and this one takes none, also after a restart. Appends that get it also get ErrNotStored.
var ErrFenced = errors.New("fenced")

// standing is what the files EPOCH, REPLICA and FENCED say.
type standing struct {
	data string // the log's directory; "" in memory

	mu      sync.Mutex // for changes
	written bool       // the fence is in FENCED
	epochs  atomic.Pointer[segment.Epochs]
	fenced  atomic.Pointer[segment.Fenced] // nil if it is not
	source  string                         // "" if the log is no replica
	heard   uint64                         // Epoch in REPLICA
}

// loadStanding reads what the log in config's directory is. It refuses a replica that is
// opened as a log of its own.
func loadStanding(config Config) (*standing, error) {
	s := &standing{data: config.Data, source: config.ReplicaOf}
	epochs := segment.FirstEpoch()
	if config.Data == Memory {
		s.data = ""
		s.epochs.Store(&epochs)
		return s, nil
	}
	epochs, err1 := segment.ReadEpochs(config.Data)
	replica, err2 := segment.ReadReplica(config.Data)
	fenced, err3 := segment.ReadFenced(config.Data)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if replica.Source != "" && config.ReplicaOf == "" {
		return nil, fmt.Errorf("%s is a replica of %s: run it with `tcp-log-server replica`, or make it a log of its own by `tcp-log-server promote %s`", config.Data, replica.Source, config.Data)
	}
	s.heard = replica.Epoch
	if s.epochs.Store(&epochs); fenced.Epoch > 0 {
		s.fenced.Store(&fenced)
		s.written = true
	}
	return s, nil
}

// mark writes down that the log is a replica, if it is one, before it stores anything.
func (s *standing) mark() error {
	if s.source == "" || s.data == "" {
		return nil
	}
	if now, err := segment.ReadReplica(s.data); err == nil && now.Source == s.source {
		return nil
	}
	return segment.WriteReplica(s.data, segment.Replica{Source: s.source, Epoch: s.heard})
}

// refusesAppends is why the log takes no appends of its own, nil if it does.
func (s *standing) refusesAppends() error {
	if err := s.fence(); err != nil {
		return err
	}
	if s.source != "" {
		return fmt.Errorf("%w: it is a copy of the log at %s", ErrReplica, s.source)
	}
	return nil
}

// fence is why the log takes no entries at all, nil if it does.
func (s *standing) fence() error {
	f := s.fenced.Load()
	if f == nil {
		return nil
	}
	by := ""
	if f.By != "" {
		by = ", says " + f.By
	}
	return fmt.Errorf("%w: a replica of this log was promoted%s; the log goes on there, in epoch %d", ErrFenced, by, f.Epoch)
}

func (l *Log) logFenced(err error) {
	l.log.Error().Err(err).Str("event", "fenced").Msg("the log takes no more appends: it is not the one that goes on")
}

// Epochs returns the epochs of the log, the oldest first: at least one.
func (l *Log) Epochs() []appends.Epoch { return slices.Clone(*l.standing.epochs.Load()) }

// Fenced returns the epoch because of which the log takes no more appends, and who told; 0 if
// it takes them.
func (l *Log) Fenced() (epoch uint64, by string) {
	if f := l.standing.fenced.Load(); f != nil {
		return f.Epoch, f.By
	}
	return 0, ""
}

// fenceAhead is how many epochs ahead of a log another copy of it can be.
const fenceAhead = 1 << 32

// Fence has the log refuse appends from now on, with ErrFenced, because somebody, of whom by
// says who it is, knows of an epoch of this log that is later than its own. A batch that is
// being committed is still stored. Reads go on, and Failed is not closed.
//
// An epoch that no log gets to is refused: nobody could follow this one once it is promoted after that.
//
// When Fence returns nil it is on disk, and so holds after a restart too. After an error it
// holds until then.
func (l *Log) Fence(epoch uint64, by string) error {
	s := l.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.epochs.Load().Current().Number; epoch <= now {
		return fmt.Errorf("a fence for epoch %d: the log is in epoch %d itself", epoch, now)
	} else if epoch-now > fenceAhead {
		return fmt.Errorf("a fence for epoch %d: the log is in epoch %d, and nobody promotes it so often", epoch, now)
	}
	if before := s.fenced.Load(); before != nil && before.Epoch >= epoch && s.written {
		return nil
	}
	f := segment.Fenced{Epoch: epoch, By: by}
	s.fenced.Store(&f)
	l.logFenced(s.fence())
	s.written = false
	if s.data != "" {
		if err := segment.WriteFenced(s.data, f); err != nil {
			return fmt.Errorf("the log refuses appends, but only until it is opened again: %w", err)
		}
	}
	s.written = true
	return nil
}

// SourceEpoch has a replica record durably that its source is in the epoch with that number, to
// which the replica itself may get much later. Promoted before that, it begins a still later one,
// for which its source can be fenced.
func (l *Log) SourceEpoch(number uint64) error {
	s := l.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == "" {
		return errors.New("only a replica has a source")
	}
	if number <= max(s.heard, s.epochs.Load().Current().Number) {
		return nil
	}
	if s.data != "" {
		if err := segment.WriteReplica(s.data, segment.Replica{Source: s.source, Epoch: number}); err != nil {
			return err
		}
	}
	s.heard = number
	return nil
}

// SetEpochs has a replica take over the epochs of its source, durably, before it takes over
// entries of a new one. A fence ends if they include the epoch that it was for. It refuses
// epochs that do not begin with the log's own, and those that began before the log's head:
// then the log has entries that its source has not.
func (l *Log) SetEpochs(source []appends.Epoch) error {
	s := l.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	epochs, now := segment.Epochs(source), *s.epochs.Load()
	if s.source == "" {
		return errors.New("only a replica takes over the epochs of another log")
	}
	if err := epochs.Check(); err != nil {
		return fmt.Errorf("the epochs of the source: %w", err)
	}
	next, ok := now.Leads(epochs)
	head := l.head.Load()
	switch {
	case !ok:
		return fmt.Errorf("the epochs of the source are %s, those of the replica %s: one was promoted without the other", epochs, now)
	case next.Number > 0 && head >= next.First:
		return fmt.Errorf("entries %d to %d of the replica are not in the source's log: epoch %d began at %d there", next.First, head, next.Number, next.First)
	}
	f := s.fenced.Load()
	if f != nil && f.Epoch > epochs.Current().Number {
		return fmt.Errorf("%w; the source is in epoch %d", s.fence(), epochs.Current().Number)
	}
	if next.Number > 0 && s.data != "" {
		if err := segment.WriteEpochs(s.data, epochs); err != nil {
			return err
		}
	}
	epochs = slices.Clone(epochs)
	s.epochs.Store(&epochs)
	if f != nil {
		if s.data != "" {
			if err := segment.RemoveFenced(s.data); err != nil {
				return err
			}
		}
		s.fenced.Store(nil)
	}
	return nil
}
