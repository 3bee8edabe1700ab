package replicated

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"

	"tcp-log-server/segment"
)

// A Recovery rebuilds the entries of a log from the messages of one replica, without a cluster. It is
// given all messages in order: first those that are stored, then those that were about to be.
type Recovery struct {
	// Entries receives runs of entries, with their time in µs since 1970 UTC. They are valid during the
	// call.
	Entries func(first uint64, count int, entries []byte, time int64) error

	walker walker
	lanes  map[uint64]uint64 // the last message of each lane
	recent [recentPlaces]place
	late   uint64 // number of entries that Logged has added
}

// recentPlaces is how many of the latest places a Recovery keeps, to check hints against.
const recentPlaces = 4096

// NewRecovery returns a Recovery that begins with message 1.
func NewRecovery(entries func(first uint64, count int, entries []byte, time int64) error) *Recovery {
	return &Recovery{Entries: entries, lanes: make(map[uint64]uint64), walker: walker{
		most:    math.MaxInt, // it keeps the hashes of all that it needs, and never fetches
		hashing: true,
		fetch:   func(context.Context, uint64, uint64, func(uint64, *message) error) error { panic("never needed") },
	}}
}

// Head returns the index of the last entry.
func (r *Recovery) Head() uint64 { return r.walker.at.index }

// Late returns how many entries came from messages that were not stored yet.
func (r *Recovery) Late() uint64 { return r.late }

// Stored adds message seq of the stream.
func (r *Recovery) Stored(seq uint64, stored []byte) error {
	if want := r.walker.at.seq + 1; seq != want {
		return fmt.Errorf("the next message is %d, want %d", seq, want)
	}
	return r.add(stored)
}

// Logged adds a message that was about to be stored, if NATS would store it now. last is how many
// messages the stream must have then, or, if perLane, the last message that its lane must have.
func (r *Recovery) Logged(message []byte, last uint64, perLane bool) error {
	next := r.walker.at.seq + 1
	if last >= next {
		return nil // it follows a message that this replica does not have
	}
	m, err := decode(message, math.MaxInt64) // its place is not known yet
	if err != nil {
		return err
	}
	if perLane && r.lanes[m.lane] != last || !perLane && last != r.walker.at.seq {
		return nil
	}
	before := r.Head()
	err = r.add(message)
	r.late += r.Head() - before
	return err
}

// add adds the next message.
func (r *Recovery) add(stored []byte) error {
	seq := r.walker.at.seq + 1
	m, err := decode(append([]byte(nil), stored...), seq) // the walker keeps the copy
	if err != nil {
		return err
	}
	if at := r.recent[m.hint.seq%recentPlaces]; at.seq == m.hint.seq && at != m.hint {
		return fmt.Errorf("message %d says that %d entries are in the %d messages before it, and there are %d", seq, m.hint.index, at.seq, at.index)
	}
	v, err := r.walker.step(context.Background(), &m)
	if err != nil {
		return err
	}
	r.lanes[m.lane] = seq
	r.recent[seq%recentPlaces] = r.walker.at
	if v.count == 0 {
		return nil
	}
	return r.Entries(v.first, v.count, v.entries, v.time)
}

// LogOf returns the name and the epochs of the log that a stream holds, from the stream's metadata.
func LogOf(metadata map[string]string) (id segment.StoreID, epochs segment.Epochs, err error) {
	if v := metadata[metaFormat]; v != format {
		return id, nil, fmt.Errorf("%w: it has format %q, and this version knows %s", ErrStream, v, format)
	}
	name, err := hex.DecodeString(metadata[metaStore])
	if err != nil || len(name) != len(id) {
		return id, nil, fmt.Errorf("%w: it names its log %q, want %d hexadecimal digits", ErrStream, metadata[metaStore], 2*len(id))
	}
	copy(id[:], name)
	if epochs, err = parseEpochs(metadata[metaEpochs]); err != nil {
		err = fmt.Errorf("%w: its epochs are %q: %w", ErrStream, metadata[metaEpochs], err)
	}
	return id, epochs, err
}
