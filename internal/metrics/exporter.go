// Package metrics shows a running server to monitoring: its counters as Prometheus metrics, whether
// it is alive, and whether it is ready. The data comes from snapshots by the log and the server,
// and from a few histograms that their hooks feed.
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

// Exporter collects the metrics. All methods may be called from any goroutine.
type Exporter struct {
	build   Build
	started time.Time

	batchEntries, batchBytes, sync, ack *histogram

	sources  atomic.Pointer[Sources] // nil until Show
	waiting  atomic.Pointer[string]  // what the start waits for, nil for log recovery
	stopping atomic.Bool
}

// Build identifies the running program.
type Build struct{ Version, Revision string }

// Sources are the sources of the metrics.
type Sources struct {
	// Log and Server return the current counts.
	Log    func() engine.Stats
	Server func() server.Stats
	// Archive returns the state of the archive; nil if there is none.
	Archive func() archive.Stats
	// Sync returns the counts of appends that wait for replicas; nil if none do.
	Sync func() syncreplicas.Stats
	// Fenced reports whether the log refuses appends because a replica of it was promoted.
	Fenced func() bool
	// Cluster returns the state of the cluster; nil for a log in a directory.
	Cluster func() replicated.Stats
	// Archived counts the reads from the archive; nil if all segments are local.
	Archived func() archived.Stats
	// Refusing returns why the server is not ready, nil if it is.
	Refusing func() error
	// Replica returns the state of a replica; nil if the server is not one.
	Replica func() replica.Status
}

// New returns an exporter that shows only the process until Show is called.
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

// Batch records that a batch was stored: engine.Config.OnBatch.
func (e *Exporter) Batch(entries, bytes int, took time.Duration) {
	e.batchEntries.observe(uint64(entries))
	e.batchBytes.observe(uint64(bytes))
	e.sync.observeTime(took)
}

// Ack records that writes were acknowledged: server.Config.OnAck.
func (e *Exporter) Ack(took time.Duration) { e.ack.observeTime(took) }

// Show sets the sources of the metrics.
func (e *Exporter) Show(s Sources) { e.sources.Store(&s) }

// page returns all metrics in Prometheus's text format. ready is the answer of /readyz.
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
