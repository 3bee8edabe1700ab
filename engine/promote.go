package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// ErrNotReplica: the log is neither a replica nor fenced, so it already takes appends.
var ErrNotReplica = errors.New("neither a replica nor fenced")

// Promotion describes what Promote did to a log.
type Promotion struct {
	Store  string // the id of the log, in hexadecimal
	Source string // of the former replica, "" if it was none
	Fenced uint64 // the epoch for which it was fenced, 0 if it was not
	Head   uint64
	Epoch  appends.Epoch // the epoch that it has begun
}

// Promote turns a log that is a replica, or fenced, into an independent log, durably: the next
// epoch begins after its head. The log must not be open, and is checked and recovered as by Open;
// nothing is settled. Only the directories in config matter.
//
// Errors are those of Open, or wrap ErrNotReplica: the result then describes the log as it is,
// such as the epoch that it has begun if it was promoted before. After an error or a crash, the
// log is still a replica, or fenced, in the old epoch or in a new one, and can be promoted again.
func Promote(config Config) (p Promotion, err error) {
	if config.Data == Memory {
		return p, fmt.Errorf("a log in memory is %w", ErrNotReplica)
	}
	if _, err := os.Stat(config.Data); err != nil {
		return p, err // do not create an empty log
	}
	replica, err1 := segment.ReadReplica(config.Data)
	fenced, err2 := segment.ReadFenced(config.Data)
	if err := errors.Join(err1, err2); err != nil {
		return p, err
	}
	if replica.Source == "" && fenced.Epoch == 0 {
		p, err := whatIsThere(config)
		return p, errors.Join(fmt.Errorf("%s is %w", config.Data, ErrNotReplica), err)
	}
	config.ReplicaOf = replica.Source
	if config.Archive == nil {
		config.Archive = noArchive{}
	}
	if config, err = config.validate(); err != nil {
		return p, err
	}
	d, head, err := openDisk(config)
	if err != nil {
		return p, err
	}
	p = Promotion{Store: d.id.String(), Source: replica.Source, Fenced: fenced.Epoch, Head: head}
	p.Epoch, err = d.standing.promote(head)
	return p, errors.Join(err, d.open.Close(), d.release())
}

// whatIsThere describes a log that is neither a replica nor fenced, as far as one exists.
func whatIsThere(config Config) (p Promotion, err error) {
	epochs, err := segment.ReadEpochs(config.Data)
	if err != nil {
		return p, err
	}
	store, err := segment.Capture(segment.Dirs{Data: config.Data, WAL: config.WAL, Blobs: config.Blobs})
	if err != nil {
		return p, err
	}
	p.Epoch, p.Head = epochs.Current(), store.Head()
	if len(store.Files) > 0 {
		p.Store = store.Files[0].Header.Store.String()
	}
	return p, nil
}

// promote lifts what keeps the log from taking appends of its own, once it is in an epoch that no
// other copy has.
func (s *standing) promote(head uint64) (appends.Epoch, error) {
	after := s.heard
	if f := s.fenced.Load(); f != nil {
		after = max(after, f.Epoch)
	}
	epochs, err := s.epochs.Load().Begin(head+1, after)
	if err == nil {
		err = segment.WriteEpochs(s.data, epochs)
	}
	if err == nil {
		err = segment.RemoveFenced(s.data)
	}
	if err == nil {
		// The last step: until here the log can only be opened as a replica, or not at all.
		err = segment.RemoveReplica(s.data)
	}
	return epochs.Current(), err
}

// noArchive is an archive for opening a log that is not read.
type noArchive struct{}

func (noArchive) Open(context.Context, uint64) (ArchivedSegment, error) {
	return nil, ErrUnavailable
}

func (noArchive) Same(context.Context, uint64, io.ReaderAt, int64) error { return ErrUnavailable }

func (noArchive) String() string { return "the archive" }
