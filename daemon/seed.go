package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"tcp-log-server/archive"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/reader"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/segment"
)

// A new cluster can begin with the log of a directory. The node that creates the stream seeds it before
// it serves, instead of a separate command: it has everything that this takes, and nobody can append
// meanwhile.

// seed makes the stream hold the log of Cluster.Seed, unless it does already.
func (d *daemon) seed(ctx context.Context, config replicated.Config) error {
	dir := d.config.Cluster.Seed
	var lock *segment.Lock
	defer func() {
		if lock != nil {
			lock.Close()
		}
	}()
	began := time.Now()
	var log *reader.Log
	err := replicated.SeedStream(ctx, config, func() (seed replicated.Seed, err error) {
		if seed, log, err = openSeed(dir); err != nil {
			return seed, err
		}
		// A server running there would continue a log that the cluster continues too. A directory that
		// cannot be written cannot be locked, and no server runs in it.
		if lock, err = segment.LockStore(dir); errors.Is(err, segment.ErrLocked) {
			return seed, fmt.Errorf("%w: stop the server that runs there, or make a backup of the log and seed with that", err)
		}
		d.logger.Info().Str("event", "cluster").Str("seed", dir).Uint64("head", seed.Head).Msg("checking the log that the cluster is to begin with, and seeding it")
		var shown time.Time
		seed.Progress = func(through uint64) {
			if now := time.Now(); now.Sub(shown) >= time.Second {
				shown = now
				d.waitFor(fmt.Sprintf("seeding the cluster with %s: entry %d of %d", dir, through, seed.Head))
			}
		}
		return seed, nil
	})
	if err == nil && log != nil {
		d.logger.Info().Str("event", "cluster").Str("seed", dir).Uint64("head", log.Head()).Stringer("took", time.Since(began).Round(time.Millisecond)).
			Msg("the cluster is seeded: do not start a server in that directory again")
	}
	return err
}

// openSeed opens the log in a directory for seeding a cluster.
func openSeed(dir string) (seed replicated.Seed, log *reader.Log, err error) {
	if archive.Incomplete(dir) {
		return seed, nil, fmt.Errorf("%s holds an unfinished restore: run `tcp-log-server restore` again", dir)
	}
	if node := cluster.NodeOf(filepath.Join(dir, "cluster")); node != "" {
		return seed, nil, fmt.Errorf("%s belongs to node %s of a cluster: seed with a replica of that", dir, node)
	}
	if log, err = reader.Open(reader.Config{Data: dir}); err != nil {
		return seed, nil, err
	}
	id, known := log.ID()
	head := log.Head()
	switch {
	case !known:
		return seed, nil, fmt.Errorf("%s: the id of its log is not known: run `tcp-log-server fsck %[1]s`", dir)
	case head == 0:
		return seed, nil, fmt.Errorf("the log in %s has no entries: start the cluster without it", dir)
	}
	epochs, err := nextEpoch(dir, head)
	if err != nil {
		return seed, nil, err
	}
	return replicated.Seed{
		Name: dir, Store: id, Epochs: epochs, Head: head,
		Read: func(ctx context.Context, from uint64, fn func(uint64, []byte, int64) error) error {
			return log.Read(ctx, from, head, func(index uint64, entry []byte, time int64, err error) error {
				switch {
				case errors.Is(err, reader.ErrLost):
					return fmt.Errorf("%s: entry %d is lost for good, and a cluster cannot hold such a gap: import what is left into a new log", dir, index)
				case err != nil:
					return fmt.Errorf("%s: entry %d: %w: run `tcp-log-server fsck %[1]s`", dir, index, err)
				}
				return fn(index, entry, time)
			})
		},
	}, log, nil
}

// nextEpoch returns the epochs of the log that continues after head, where the log in dir ends, as if
// that had been promoted: this distinguishes it from anything that a server later appends in dir.
func nextEpoch(dir string, head uint64) (segment.Epochs, error) {
	epochs, err1 := segment.ReadEpochs(dir)
	replica, err2 := segment.ReadReplica(dir)
	fenced, err3 := segment.ReadFenced(dir)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return epochs.Begin(head+1, max(replica.Epoch, fenced.Epoch))
}
