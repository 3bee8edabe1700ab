package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/engine"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/segment"
)

// Recovered is the result of RecoverNode.
type Recovered struct {
	Node  string `json:"node"`
	Store string `json:"store"` // the id of the log
	Head  uint64 `json:"head"`
	// Late is how many of the entries the node had agreed to but not yet put into its replica.
	Late uint64 `json:"late"`
	// Missing is why there are no more entries, if something was damaged.
	Missing string `json:"missing,omitempty"`
	// Nameless is why the log has a new id, if the node could not read which one it had.
	Nameless string `json:"nameless,omitempty"`
}

// RecoverNode makes a log in the new directory to from the replica of the stopped node whose Data is
// data. It reads everything, verifies all checksums, and changes nothing there. The new directory is a
// replica's. If the node's replica is damaged, nothing is made, unless acceptLoss is set: then the log
// has what precedes the damage, and a new id if its name is what is damaged.
//
// It is meant for the loss of a majority of the nodes: the others may have had more.
func RecoverNode(ctx context.Context, data, to string, acceptLoss bool) (got Recovered, err error) {
	stopped, err := cluster.OpenStopped(filepath.Join(data, "cluster"))
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, stopped.Close()) }()
	got.Node = stopped.Node
	id, epochs := segment.StoreID{}, segment.FirstEpoch()
	switch {
	case stopped.Nameless == nil:
		id, epochs, err = replicated.LogOf(stopped.Metadata)
	case acceptLoss:
		got.Nameless = stopped.Nameless.Error()
		_, err = rand.Read(id[:])
	default:
		err = fmt.Errorf("it cannot be read which log this is: %w", stopped.Nameless)
	}
	if err != nil {
		return got, err
	}
	got.Store = id.String()
	to = filepath.Clean(to)
	if inside, err := within(to, data); err != nil {
		return got, err
	} else if inside {
		return got, fmt.Errorf("%s is in the directory of the node, which is left as it is: name another place", to)
	}
	if _, err := os.Lstat(to); err == nil {
		return got, fmt.Errorf("%s already exists: name a directory that does not", to)
	}
	unfinished := to + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return got, err
	}
	config := engine.NewConfig(unfinished)
	config.Store, config.ReplicaOf = id, "node "+stopped.Node+" of a cluster"
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(unfinished))
		}
	}()
	log, err := engine.Open(config)
	if err != nil {
		return got, err
	}
	err = log.SetEpochs(epochs)
	w := recoveryWriter{log: log}
	if err == nil {
		err = w.read(ctx, stopped)
	}
	if damage := (*cluster.Damage)(nil); acceptLoss && errors.As(err, &damage) && w.recovery.Head() > 0 {
		got.Missing = err.Error()
		err = w.flush()
	}
	if err = errors.Join(err, log.Close()); err != nil {
		return got, err
	}
	got.Head, got.Late = w.recovery.Head(), w.recovery.Late()
	return got, os.Rename(unfinished, to)
}

// within reports whether path is dir or lies in it.
func within(path, dir string) (bool, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel), nil
}

// recoveryWriter stores the entries of a replica in a log, in large groups.
type recoveryWriter struct {
	log      *engine.Log
	recovery *replicated.Recovery
	first    uint64 // of the batches
	next     uint64
	batches  []engine.ReplicaBatch
	bytes    int
	failed   error // why the log could not be written
}

// recoveryBytes is how many bytes of entries are stored at a time.
const recoveryBytes = 8 << 20

// read reads a whole replica.
func (w *recoveryWriter) read(ctx context.Context, stopped *cluster.Stopped) error {
	w.first, w.next = 1, 1
	w.recovery = replicated.NewRecovery(w.add)
	err := stopped.Read(ctx, w.recovery.Stored, func(m cluster.Logged) error {
		switch {
		case m.LastOnSubject != nil:
			return w.recovery.Logged(m.Message, *m.LastOnSubject, true)
		case m.Last != nil:
			return w.recovery.Logged(m.Message, *m.Last, false)
		}
		return nil // gateways send no such messages
	})
	if w.failed != nil { // even if Read took it for damage
		return w.failed
	}
	if err != nil {
		return err
	}
	return w.flush()
}

// add adds a run of entries.
func (w *recoveryWriter) add(first uint64, count int, entries []byte, time int64) error {
	if first != w.next {
		return fmt.Errorf("the next entry is %d, want %d", first, w.next)
	}
	w.batches = append(w.batches, engine.ReplicaBatch{Entries: append([]byte(nil), entries...), Count: count, Time: time})
	w.next += uint64(count)
	if w.bytes += len(entries); w.bytes < recoveryBytes {
		return nil
	}
	return w.flush()
}

// flush stores the entries added so far.
func (w *recoveryWriter) flush() error {
	if len(w.batches) == 0 {
		return nil
	}
	if err := w.log.Replicate(w.first, w.batches); err != nil {
		w.failed = fmt.Errorf("writing the new log: %w", err)
		return w.failed
	}
	w.first, w.batches, w.bytes = w.next, w.batches[:0], 0
	return nil
}
