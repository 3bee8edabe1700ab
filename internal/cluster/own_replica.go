//go:build !nocluster

package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// How a node follows its own replica, and handles damage and a disk that cannot be written.

// keep starts the goroutine that follows the replica. Call it before the server writes to it.
func (n *Node) keep(had count) error {
	k, err := newKeeper(n.replica, had)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.keeper = k
	n.mu.Unlock()
	n.spawn(n.spread)
	n.spawn(func() {
		tick := time.NewTicker(keepEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-n.ctx.Done():
				return
			}
			if n.ownLog() == "" {
				n.knowLog(n.stream())
			}
			if n.switchedOff() {
				n.awaitRoom()
				return
			}
			if n.isDamaged() {
				n.stepDown()
				continue
			}
			restarted, err := k.tick(n.ctx)
			if restarted {
				n.log.Warn().Msg("NATS has discarded this node's replica of the log and fetches it from the other nodes")
			}
			if damage := (*Damage)(nil); errors.As(err, &damage) {
				n.damage(err)
			} else if err != nil && n.ctx.Err() == nil {
				n.log.Error().Err(err).Msg("the node cannot read its replica of the log")
			}
		}
	})
	return nil
}

// switchedOff reports whether NATS has switched JetStream off, which it does permanently after a failed
// write.
func (n *Node) switchedOff() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.taking && !n.server.JetStreamEnabled()
}

// awaitRoom waits until the node's disk is writable, and then makes the node fail: its next start checks
// the replica, and catches up. Meanwhile the other nodes serve the clients of this process.
func (n *Node) awaitRoom() {
	const reason = "NATS could not write the replica of the log, and has switched it off"
	n.mu.Lock()
	n.taking, n.reason = false, reason
	n.mu.Unlock()
	for told := false; ; told = true {
		err := n.probe()
		if err == nil {
			n.fail(reason + ": the disk is writable again; restart the node")
			return
		}
		if !told {
			n.log.Error().Err(err).Msg("the node does not take part in the cluster until its disk can be written: " + reason)
		}
		select {
		case <-time.After(keepEvery):
		case <-n.ctx.Done():
			return
		}
	}
}

// probeBytes is how much room there must be again before the node fails.
const probeBytes = 4 << 20

// probe writes a file to the node's directory and removes it.
func (n *Node) probe() error {
	path := filepath.Join(n.config.Dir, "probe.tmp")
	err := os.WriteFile(path, make([]byte, probeBytes), 0o600)
	return errors.Join(err, os.Remove(path))
}

// damage records that the replica is damaged. The node stops leading, so that the others do not copy its
// holes; its next start fetches the replica again.
func (n *Node) damage(err error) {
	if damage := (*Damage)(nil); !errors.As(err, &damage) || damage.Gone {
		return // NATS already fetches the replica again
	}
	n.mu.Lock()
	first, k := n.problem == "", n.keeper
	n.problem = err.Error()
	n.mu.Unlock()
	if !first {
		return
	}
	if err := k.condemn(err.Error()); err != nil {
		n.log.Error().Err(err).Msg("the node cannot note that its replica of the log is damaged")
	}
	n.log.Error().Err(err).Msg("this node's replica of the log is damaged: restart the node, and it fetches the log from the other nodes")
	n.stepDown()
}

func (n *Node) isDamaged() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.problem != ""
}

// stepDown makes the node stop leading the log's stream. The others may elect it again: they do not know.
func (n *Node) stepDown() {
	if !n.replica.alone && n.server.JetStreamIsStreamLeader(account, n.config.Stream) {
		if err := n.server.JetStreamStepdownStream(account, n.config.Stream); err != nil {
			n.log.Error().Err(err).Msg("the node leads the log's stream, with a damaged replica, and cannot step down")
		}
	}
}
