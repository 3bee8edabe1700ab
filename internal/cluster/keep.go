//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

const (
	// keepEvery is how often a node notes how many messages its replica certainly has.
	keepEvery = 2 * time.Second
	// endTime limits how long a stopping node reads what was added to its replica since. The next start
	// reads the rest.
	endTime = 10 * time.Second
)

// A keeper follows the node's own replica while the server writes it: it verifies what is written, and
// notes how many messages are on disk. One goroutine uses it, except for condemn and noted.
type keeper struct {
	replica *replica
	scan    *scanner
	synced  int // the newest block whose predecessors are known to be synced

	mu  sync.Mutex
	had count // the contents of the file
}

// newKeeper returns a keeper for a replica with the noted count had, and notes that a server runs on it.
func newKeeper(r *replica, had count) (*keeper, error) {
	k := &keeper{replica: r, scan: r.scanner()}
	if had.State != fetching {
		if err := k.scan.atEnd(); err != nil {
			return nil, err
		}
	}
	k.synced = k.scan.block
	return k, k.note(count{Messages: had.Messages, State: had.State})
}

// note writes c, but keeps a problem that was noted before.
func (k *keeper) note(c count) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Problem = k.had.Problem
	return k.write(c)
}

// condemn notes that the replica is damaged.
func (k *keeper) condemn(problem string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.had
	c.Problem, c.Clean = problem, false
	return k.write(c)
}

// noted returns the contents of the file.
func (k *keeper) noted() count {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.had
}

// write replaces the file. The caller holds k.mu.
func (k *keeper) write(c count) error {
	if err := writeJSON(k.replica.countPath(), c); err != nil {
		return err
	}
	k.had = c
	return nil
}

// tick verifies what has been written since the last call, makes it durable and notes it. A *Damage is
// final: the replica must not be trusted any more.
func (k *keeper) tick(ctx context.Context) (restarted bool, err error) {
	err = k.scan.follow(ctx)
	if damage := (*Damage)(nil); errors.As(err, &damage) && damage.Gone {
		// NATS found its replica useless and fetches another one.
		restarted = k.scan.last > 0
		k.scan, k.synced = k.replica.scanner(), 0
		if err := k.note(count{Messages: k.noted().Messages, State: fetching}); err != nil {
			return restarted, err
		}
		err = k.scan.follow(ctx)
	}
	if err != nil {
		return restarted, err
	}
	return restarted, k.noteRead(false)
}

// noteRead syncs and notes what has been read.
func (k *keeper) noteRead(clean bool) error {
	had := k.noted()
	now := had
	if k.scan.last >= now.Messages {
		now = count{Messages: k.scan.last}
	}
	now.Clean = clean
	if clean {
		list, err := k.scan.blocks()
		if err != nil {
			return err
		}
		now.Blocks = len(list)
		for _, block := range list {
			info, err := os.Stat(k.scan.path(block))
			if err != nil {
				return err
			}
			now.Bytes += info.Size()
		}
	}
	if now == had {
		return nil
	}
	if err := k.scan.sync(k.synced); err != nil {
		return err
	}
	k.synced = k.scan.block
	return k.note(now)
}

// end notes the state in which the stopped server left the replica.
func (k *keeper) end(ctx context.Context) error {
	if _, err := k.scan.advance(ctx); err != nil {
		return err
	}
	if k.scan.last < k.noted().Messages {
		return nil // it is being fetched: the next start checks it again
	}
	return k.noteRead(true)
}
