// Package metrics shows a running server to monitoring: its counters as Prometheus
// metrics, whether it is alive, and whether it is ready. It takes everything from
// snapshots that the log and the server give, and from a few histograms that their
// hooks feed.
package metrics

import (
	"runtime"
	"sync/atomic"
	"time"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/replica"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/internal/syncreplicas"
	"tcp-log-server/server"
)

// Exporter collects the metrics. All methods may be called from any
// goroutine.
type Exporter struct {
	build   Build
	started time.Time

	batchEntries, batchBytes, sync, ack *histogram

	sources  atomic.Pointer[Sources] // nil until there is a log
	waiting  atomic.Pointer[string]  // what the start waits for, nil for the log itself
	stopping atomic.Bool
}

// Build says which program is running.
type Build struct{ Version, Revision string }

// Sources are what the metrics are taken from.
type Sources struct {
	// Log and Server give the counts of this moment.
	Log    func() engine.Stats
	Server func() server.Stats
	// Archive says how far the archive is; nil without one.
	Archive func() archive.Stats
	// Sync gives the counts of appends that wait for replicas; nil if none do.
	Sync func() syncreplicas.Stats
	// Fenced says whether the log takes no more appends because a replica of it was promoted.
	Fenced func() bool
	// Cluster says how the cluster is doing; nil for a log in a directory.
	Cluster func() replicated.Stats
	// Archived counts what is read from it; nil if all segments are here.
	Archived func() archived.Stats
	// Refusing is why the server is not ready, nil while it is.
	Refusing func() error
	// Replica says how a replica is doing; it is nil for a server that is none.
	Replica func() replica.Status
}

// New returns an exporter that shows only the process yet.
func New(build Build) *Exporter {
	return &Exporter{
		build:        build,
		started:      time.Now(),
		batchEntries: newHistogram(1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000),
		batchBytes:   newHistogram(1, 256, 1<<10, 4<<10, 16<<10, 64<<10, 256<<10, 1<<20, 4<<20, 16<<20),
		sync:         newDurations(),
		ack:          newDurations(),
	}
}

// Batch notes a batch that was stored: engine.Config.OnBatch.
func (e *Exporter) Batch(entries, bytes int, took time.Duration) {
	e.batchEntries.observe(uint64(entries))
	e.batchBytes.observe(uint64(bytes))
	e.sync.observeTime(took)
}

// Ack notes that writes were acknowledged: server.Config.OnAck.
func (e *Exporter) Ack(took time.Duration) { e.ack.observeTime(took) }

// Show shows these sources from now on.
func (e *Exporter) Show(s Sources) { e.sources.Store(&s) }

// page is every metric, in Prometheus's text format. ready is what
// the endpoint says of that.
func (e *Exporter) page(ready bool) []byte {
	p := &page{b: make([]byte, 0, 16<<10)}
	p.family("tcp_log_server_build_info", "gauge", "Which program is running; always 1.")
	p.sample("tcp_log_server_build_info", 1, "version", e.build.Version, "revision", e.build.Revision, "goversion", runtime.Version())
	p.gauge("tcp_log_server_ready", "Whether the log is recovered and appends are accepted: 1 or 0, as /readyz has it.", truth(ready))
	if s := e.sources.Load(); s != nil {
		log, srv := s.Log(), s.Server()
		e.writeLog(p, log)
		e.writeServer(p, srv)
		e.writeReplicas(p, srv, s)
		writeErrors(p, log, srv.Errors)
		if s.Replica != nil {
			writeReplica(p, s.Replica())
		}
		if s.Archive != nil {
			writeArchive(p, s.Archive())
		}
		if s.Archived != nil {
			writeArchived(p, log, s.Archived())
		}
		if s.Cluster != nil {
			writeCluster(p, s.Cluster())
		}
	}
	writeGo(p)
	writeProcess(p, e.started)
	return p.b
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
