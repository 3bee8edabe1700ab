package daemon

import (
	"context"
	"fmt"
	"time"

	"tcp-log-server/internal/syncreplicas"
	"tcp-log-server/server"
)

// maxSyncReplicas is the most replicas that an append may wait for.
const maxSyncReplicas = 100

// syncTimeout is how long an append waits for replicas. Tests change it.
var syncTimeout = syncreplicas.Timeout

// Replica is a connected replica.
type Replica struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Durable uint64    `json:"durable"` // everything through this index is on its disk
	Behind  uint64    `json:"behind"`  // number of entries that are not
	Since   time.Time `json:"since"`   // when it connected
}

// SyncReplicas says how far SYNC_REPLICAS is satisfied.
type SyncReplicas struct {
	Need      int    `json:"need"`
	Connected int    `json:"connected"`
	Waiting   int    `json:"waiting"` // appends waiting for replicas
	Unknown   uint64 `json:"unknown"` // appends that waited too long, since the start
	// Missing is why appends are not acknowledged, empty while they are.
	Missing string `json:"missing,omitempty"`
}

// serve returns the log as clients see it: with SyncReplicas their appends wait for replicas.
func (d *daemon) serve() server.Log {
	switch {
	case d.shared != nil:
		if d.shared.node != nil {
			return &clusterLog{d.shared.log, d.shared.node}
		}
		return &natsLog{d.shared.log}
	case d.config.Source != nil:
		return newReplicaLog(d.log, d.config.Source.Addr)
	case d.config.SyncReplicas == 0:
		return d.log
	}
	d.held = syncreplicas.New(d.log, d.config.SyncReplicas, syncTimeout)
	return d.held
}

// refusing returns why the daemon is not ready, nil while it is: why appends are not acknowledged, or why
// a replica, which takes none, has stopped.
func (d *daemon) refusing() error {
	if d.follower != nil {
		if why := d.follower.Status().Stopped; why != "" {
			return fmt.Errorf("replication has stopped: %s", why)
		}
	}
	if err := d.own.Refusing(); err != nil || d.held == nil {
		return err
	}
	return d.held.Missing()
}

// refuse makes the log refuse appends that are not stored yet, and no longer wait for replicas.
func (d *daemon) refuse() {
	d.own.Refuse()
	if d.held != nil {
		d.held.Refuse()
	}
}

// closeLog closes the log, and then the appends that wait for replicas. ctx limits how long a log in a
// cluster waits for other nodes.
func (d *daemon) closeLog(ctx context.Context) error {
	if d.shared != nil {
		return d.shared.close(ctx)
	}
	err := d.log.Close()
	if d.held != nil {
		d.held.Refuse()
		d.held.Close()
	}
	return err
}

// replicas returns the replicas connected to a server whose log ends at head.
func replicas(s *server.Server, head uint64) []Replica {
	all := []Replica{}
	for _, r := range s.Replicas() {
		all = append(all, Replica{r.Name, r.Address, r.Durable, head - min(head, r.Durable), r.Since.UTC().Truncate(time.Second)})
	}
	return all
}

// syncing returns how far SYNC_REPLICAS is satisfied, nil if it is not set.
func (d *daemon) syncing() *SyncReplicas {
	if d.held == nil {
		return nil
	}
	s := d.held.Stats()
	answer := &SyncReplicas{Need: s.Need, Connected: s.Connected, Waiting: s.Waiting, Unknown: s.Unknown}
	if err := d.held.Missing(); err != nil {
		answer.Missing = err.Error()
	}
	return answer
}

// Fenced says that a replica of the log was promoted, so this one takes no more appends.
type Fenced struct {
	Epoch uint64 `json:"epoch"` // of the log that continues
	By    string `json:"by"`    // who reported it
}

// epoch returns the epoch of the log. fenced is nil unless the log has been fenced.
func (d *daemon) epoch() (epoch uint64, fenced *Fenced) {
	if later, by := d.own.Fenced(); later > 0 {
		fenced = &Fenced{later, by}
	}
	epochs := d.own.Epochs()
	return epochs[len(epochs)-1].Number, fenced
}
