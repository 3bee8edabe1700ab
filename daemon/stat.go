package daemon

import (
	"math"
	"time"

	"tcp-log-server/internal/build"
	"tcp-log-server/server"
)

// Stat is the answer of a daemon to {"stat":true}. docs/CLI.md explains its members.
type Stat struct {
	// Rights is "write" in the answer to a peer that may only write, which otherwise has only the
	// Capabilities; else it is empty.
	Rights      string   `json:"rights,omitempty"`
	Version     string   `json:"version"`
	Uptime      float64  `json:"uptime"` // s
	Store       string   `json:"store"`  // the random name of the log
	Head        uint64   `json:"head"`
	Settled     uint64   `json:"settled"`
	Loose       int      `json:"loose"` // blob files, -1 if they are not counted
	Packed      uint64   `json:"packed"`
	Unsettled   uint64   `json:"unsettled"`
	Stalled     string   `json:"stalled,omitempty"` // why entries are not being settled
	Segments    int      `json:"segments"`
	Bytes       int64    `json:"bytes"`
	Disk        *Disk    `json:"disk,omitempty"`
	Appends     Appends  `json:"appends"`
	Sync        Sync     `json:"sync"`
	Connections int      `json:"connections"`
	Readers     int      `json:"readers"`
	Behind      uint64   `json:"behind"`            // entries that have yet to be sent to readers
	MostBehind  uint64   `json:"most_behind"`       // the largest number for one reader
	Failed      string   `json:"failed,omitempty"`  // why appends are refused
	Archive     *Archive `json:"archive,omitempty"` // nil without one
	Epoch       uint64   `json:"epoch"`             // increases by 1 each time a copy of the log is promoted
	Fenced      *Fenced  `json:"fenced,omitempty"`
	// Replicas are the connected replicas, and SyncReplicas says how many of them appends wait for, nil
	// if they do not.
	Replicas     []Replica     `json:"replicas"`
	SyncReplicas *SyncReplicas `json:"sync_replicas,omitempty"`
	// Archived is nil unless entries are or will be read from an archive.
	Archived *Archived `json:"archived,omitempty"`
	// Replica is the state of a replica, nil for other servers.
	Replica *ReplicaStatus `json:"replica,omitempty"`
	// Cluster is the state of the cluster, nil for a log in a directory.
	Cluster *ClusterStat `json:"cluster,omitempty"`
	server.Capabilities
	Settings map[string]any `json:"settings"`
}

// Appends counts appends since the start.
type Appends struct {
	Entries uint64  `json:"entries"`
	Bytes   uint64  `json:"bytes"`
	Rate    float64 `json:"rate"` // entries a second, over the last seconds
}

// Disk is the space of the file system that holds the segments, in bytes. It is nil if that is unknown.
type Disk struct {
	Used int64 `json:"used"`
	Free int64 `json:"free"` // for the server
}

// Sync counts the batches committed since the start, and the time that their writes and syncs took: the
// differences between two answers tell how long one takes now.
type Sync struct {
	Batches uint64  `json:"batches"`
	Seconds float64 `json:"seconds"`
}

// newStat returns the function that makes the daemon's answer. It may be called once the daemon serves.
func newStat(d *daemon) func() any {
	version, began, settings := build.This().String(), time.Now(), d.config.shown()
	if d.shared != nil {
		settings["max-entry"] = min(d.config.MaxEntry, d.shared.log.MaxAppend()-1) // the most that a message of the cluster holds
	}
	return func() any {
		l, s := d.own.Stats(), d.srv.Stats()
		answer := Stat{
			Version: version, Uptime: math.Round(time.Since(began).Seconds()*10) / 10,
			Store: d.own.Store(), Head: l.Head, Settled: l.Settled, Loose: l.Loose, Packed: l.Packed, Unsettled: l.Unsettled,
			Segments: l.Segments, Bytes: l.Bytes,
			Appends:     Appends{Entries: l.Entries, Bytes: l.Written, Rate: math.Round(l.Rate*10) / 10},
			Sync:        Sync{Batches: l.Batches, Seconds: l.Syncing.Seconds()},
			Connections: s.Connections, Readers: s.Replays + s.Followers, Behind: s.Behind, MostBehind: s.MostBehind,
			Replicas: replicas(d.srv, l.Head), SyncReplicas: d.syncing(),
			Cluster:      d.clusterStat(),
			Capabilities: d.srv.Capabilities(),
			Settings:     settings,
		}
		if d.keeper != nil {
			answer.Archive = archiveStat(d.keeper.Stats())
		}
		if d.far != nil {
			answer.Archived = archivedStat(d.far, l)
		}
		if l.DiskUsed > 0 || l.DiskFree > 0 {
			answer.Disk = &Disk{Used: l.DiskUsed, Free: l.DiskFree}
		}
		answer.Epoch, answer.Fenced = d.epoch()
		if d.follower != nil {
			status := d.follower.Status()
			answer.Replica = &status
		}
		if l.Stalled != nil {
			answer.Stalled = l.Stalled.Error()
		}
		if err := d.own.Refusing(); err != nil {
			answer.Failed = err.Error()
		}
		return answer
	}
}
