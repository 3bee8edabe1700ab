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

// The state of a log among its copies: whether it is an independent log or a replica, in which epoch, and
// whether another copy has begun a later one.

// ErrFenced: a replica of the log was promoted, so further entries belong to that log, and this one
// accepts none, also after a restart. Appends that get it also get ErrNotStored.
var ErrFenced = errors.New("fenced")

// standing is the content of the files EPOCH, REPLICA and FENCED.
type standing struct {
	data string // the log's directory; "" in memory

	mu      sync.Mutex // for changes
	written bool       // the fence is in FENCED
	epochs  atomic.Pointer[segment.Epochs]
	fenced  atomic.Pointer[segment.Fenced] // nil if not fenced
	source  string                         // "" if the log is not a replica
	heard   uint64                         // Epoch in REPLICA
}

// loadStanding reads the state of the log in config's directory. It refuses to open a replica as a log
// of its own.
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
		return nil, fmt.Errorf("%s is a replica of %s: run it with `tcp-log-server replica`, or make it an independent log by `tcp-log-server promote %s`", config.Data, replica.Source, config.Data)
	}
	s.heard = replica.Epoch
	if s.epochs.Store(&epochs); fenced.Epoch > 0 {
		s.fenced.Store(&fenced)
		s.written = true
	}
	return s, nil
}

// mark records that the log is a replica, if it is one, before it stores anything.
func (s *standing) mark() error {
	if s.source == "" || s.data == "" {
		return nil
	}
	if now, err := segment.ReadReplica(s.data); err == nil && now.Source == s.source {
		return nil
	}
	return segment.WriteReplica(s.data, segment.Replica{Source: s.source, Epoch: s.heard})
}

// refusesAppends returns why the log takes no appends of its own, nil if it does.
func (s *standing) refusesAppends() error {
	if err := s.fence(); err != nil {
		return err
	}
	if s.source != "" {
		return fmt.Errorf("%w: it is a copy of the log at %s", ErrReplica, s.source)
	}
	return nil
}

// fence returns why the log takes no entries at all, nil if it does.
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
	l.log.Error().Err(err).Str("event", "fenced").Msg("the log takes no more appends: a replica of it was promoted")
}

// Epochs returns the epochs of the log, oldest first; there is at least one.
func (l *Log) Epochs() []appends.Epoch { return slices.Clone(*l.standing.epochs.Load()) }

// Fenced returns the epoch because of which the log takes no more appends, and who reported it; 0 if it
// takes them.
func (l *Log) Fenced() (epoch uint64, by string) {
	if f := l.standing.fenced.Load(); f != nil {
		return f.Epoch, f.By
	}
	return 0, ""
}

// fenceAhead is how many epochs ahead of a log another copy of it can be.
const fenceAhead = 1 << 32

// Fence makes the log refuse appends from now on, with ErrFenced, because a peer, described by by,
// knows an epoch of this log that is later than its own. A batch that is being committed is still
// stored. Reads continue, and Failed is not closed.
//
// An epoch too large for any log to reach is refused: after a promotion beyond it, nothing could follow
// this log.
//
// When Fence returns nil, the fence is on disk and so survives a restart. After an error it holds until
// then.
func (l *Log) Fence(epoch uint64, by string) error {
	s := l.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.epochs.Load().Current().Number; epoch <= now {
		return fmt.Errorf("a fence for epoch %d: the log is in epoch %d itself", epoch, now)
	} else if epoch-now > fenceAhead {
		return fmt.Errorf("a fence for epoch %d: the log is in epoch %d, so that cannot be an epoch of this log", epoch, now)
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

// SourceEpoch makes a replica record durably that its source is in the epoch with that number, which
// the replica itself may reach much later. If promoted before that, it begins an even later epoch, for
// which its source can be fenced.
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

// SetEpochs makes a replica take over its source's epochs, durably, before it stores entries of a new
// one. A fence ends if they include its epoch. SetEpochs refuses epochs that do not begin with the
// log's own, and new ones that began before the log's head: then the log has entries that its source
// does not.
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
