package metrics

import (
	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/replica"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/internal/syncreplicas"
	"tcp-log-server/server"
)

// writeLog adds the counts of the log.
func (e *Exporter) writeLog(p *page, s engine.Stats) {
	p.gauge("tcp_log_server_head", "Index of the last durable entry.", float64(s.Head))
	p.counter("tcp_log_server_appended_entries_total", "Entries made durable since the start.", s.Entries)
	p.counter("tcp_log_server_appended_bytes_total", "Bytes of these entries, in canonical form and each with its newline.", s.Written)
	e.batchEntries.write(p, "tcp_log_server_batch_entries", "Entries in a batch: what one write and one sync made durable.")
	e.batchBytes.write(p, "tcp_log_server_batch_bytes", "Bytes of the entries in a batch.")
	e.sync.write(p, "tcp_log_server_sync_seconds", "Time of a batch's write and sync.")
	e.ack.write(p, "tcp_log_server_ack_seconds", "Time from the arrival of writes that came together until they were acknowledged.")
	p.gauge("tcp_log_server_settled", "Index of the last entry whose index record, and whose blob where it has one, are on disk.", float64(s.Settled))
	p.gauge("tcp_log_server_settle_backlog_entries", "Entries that wait to be settled.", float64(s.Unsettled))
	p.gauge("tcp_log_server_settle_stalled", "Whether entries could not be settled at the last attempt, as while a store of blobs is away: 1 or 0.", truth(s.Stalled != nil))
	if s.Loose >= 0 {
		p.gauge("tcp_log_server_loose_blobs", "Blob files; missing if their number has no limit, because then they are not counted.", float64(s.Loose))
	}
	p.gauge("tcp_log_server_packed_entries", "Entries in segments that stay, as far as is known.", float64(s.Packed))
	p.gauge("tcp_log_server_segments", "Segment files, the open one included.", float64(s.Segments))
	p.gauge("tcp_log_server_store_bytes", "Bytes of segments and index; blobs are not measured.", float64(s.Bytes))
	p.gauge("tcp_log_server_failed", "Whether a sync has failed, so that no appends are taken until a restart: 1 or 0.", truth(s.Failed))
}

// writeServer adds the counts of the server.
func (e *Exporter) writeServer(p *page, s server.Stats) {
	p.gauge("tcp_log_server_connections", "Open connections.", float64(s.Connections))
	p.gauge("tcp_log_server_max_connections", "How many connections may be open at once.", float64(s.MaxConnections))
	p.counter("tcp_log_server_accepted_connections_total", "Connections let in.", s.Accepted)
	p.family("tcp_log_server_readers", "gauge", "Reads that are running: those that go through history, and those that follow the head.")
	p.sample("tcp_log_server_readers", float64(s.Replays), "state", "history")
	p.sample("tcp_log_server_readers", float64(s.Followers), "state", "following")
	p.gauge("tcp_log_server_readers_behind_entries", "Entries that the running reads have yet to be sent, all together.", float64(s.Behind))
	p.gauge("tcp_log_server_readers_behind_max_entries", "Entries that the read furthest behind has yet to be sent.", float64(s.MostBehind))
	p.counter("tcp_log_server_cache_hits_total", "Blocks of lines that followers found in the tail cache.", s.Hits)
	p.counter("tcp_log_server_cache_misses_total", "Blocks of lines that were read from the log for followers.", s.Misses)
	p.gauge("tcp_log_server_cache_bytes", "Bytes in the tail cache.", float64(s.CacheBytes))
	p.counter("tcp_log_server_received_bytes_total", "Bytes received from clients.", s.Received)
	p.counter("tcp_log_server_sent_bytes_total", "Bytes sent to clients.", s.Sent)
}

// writeReplicas adds the progress of the replicas, and the appends that wait for them.
func (e *Exporter) writeReplicas(p *page, s server.Stats, sources *Sources) {
	p.gauge("tcp_log_server_fenced", "Whether the log takes no more appends because a replica of it was promoted: 1 or 0.", truth(sources.Fenced()))
	p.gauge("tcp_log_server_replicas", "Replicas that are connected.", float64(s.Replicas))
	p.gauge("tcp_log_server_replicas_behind_max_entries", "Entries that the replica furthest behind does not have on disk.", float64(s.ReplicaBehind))
	var sync syncreplicas.Stats
	if sources.Sync != nil {
		sync = sources.Sync()
	}
	p.gauge("tcp_log_server_sync_replicas", "SYNC_REPLICAS: how many replicas an append waits for.", float64(sync.Need))
	p.gauge("tcp_log_server_sync_replicas_missing", "How many of these are not connected.", float64(max(0, sync.Need-sync.Connected)))
	p.gauge("tcp_log_server_sync_replicas_waiting", "Appends that are stored here and wait for replicas.", float64(sync.Waiting))
	p.counter("tcp_log_server_sync_replicas_unknown_total", "Appends that waited too long for replicas, so that their outcome was unknown.", sync.Unknown)
}

// writeArchived adds which entries are only in the archive, and the reads of them.
func writeArchived(p *page, log engine.Stats, s archived.Stats) {
	p.gauge("tcp_log_server_archived_through", "Index of the last entry whose segment was removed here since the archive has it.", float64(log.Archived))
	p.counter("tcp_log_server_archived_segments_total", "Segments removed here since the start.", log.Evicted)
	p.counter("tcp_log_server_archived_hits_total", "Blocks of archived segments that reads found in the cache on disk.", s.Hits)
	p.counter("tcp_log_server_archived_misses_total", "Blocks of archived segments that they did not.", s.Misses)
	p.counter("tcp_log_server_archived_fetched_bytes_total", "Bytes of them that came from the archive.", uint64(s.Fetched))
	p.gauge("tcp_log_server_archived_cached_bytes", "Bytes of them in the cache.", float64(s.Cached))
}

// writeReplica adds the state of a replica.
func writeReplica(p *page, s replica.Status) {
	p.gauge("tcp_log_server_replica_connected", "Whether the replica follows its source: 1 or 0.", truth(s.Connected))
	p.gauge("tcp_log_server_replica_stopped", "Whether replication has stopped until an operator does something: 1 or 0.", truth(s.Stopped != ""))
	p.gauge("tcp_log_server_replica_behind_entries", "Entries that the source last reported and the replica lacks.", float64(s.Behind))
	p.gauge("tcp_log_server_replica_behind_seconds", "How long the replica has lacked entries of the source.", s.BehindSeconds)
	p.gauge("tcp_log_server_replica_verified", "Index through which the log has been compared with the source's since the start.", float64(s.Verified))
}

// writeCluster adds the state of the cluster, as this server knows it.
func writeCluster(p *page, s replicated.Stats) {
	p.gauge("tcp_log_server_cluster_leader", "Whether the stream has a leader, as of the last answer: 1 or 0.", truth(s.Leader != ""))
	p.gauge("tcp_log_server_cluster_unavailable", "Whether no majority of the nodes answers, or appends are refused for another reason: 1 or 0.", truth(s.Refusing != nil))
	current, lag := 0, uint64(0)
	for _, r := range s.Replicas {
		if r.Current && !r.Offline {
			current++
		}
		lag = max(lag, r.Lag)
	}
	p.gauge("tcp_log_server_cluster_replicas", "Replicas of the stream.", float64(len(s.Replicas)))
	p.gauge("tcp_log_server_cluster_replicas_current", "Replicas that have everything except messages in transit.", float64(current))
	p.gauge("tcp_log_server_cluster_lag_max_messages", "Messages that the replica furthest behind does not have.", float64(lag))
	p.gauge("tcp_log_server_cluster_behind_messages", "Messages of the stream that this server knows of and has not counted.", float64(s.Last-s.Messages))
	p.gauge("tcp_log_server_cluster_waiting", "Appends that wait for a majority.", float64(s.Waiting))
	p.gauge("tcp_log_server_cluster_longest_stall_seconds", "Longest time that sending and storing a message has taken since the start.", s.Stalled.Seconds())
	p.counter("tcp_log_server_cluster_damaged_total", "Messages that came damaged from a node, and were read from another.", s.Damaged)
}

// writeErrors adds the errors by kind. Every kind is there from the beginning, so that its first
// error shows as an increase.
func writeErrors(p *page, log engine.Stats, s server.Errors) {
	const name = "tcp_log_server_errors_total"
	p.family(name, "counter", "What went wrong, by kind.")
	for _, e := range []struct {
		kind  string
		count uint64
	}{
		{"refused_batch", log.Refused},
		{"failed_sync", uint64(truth(log.Failed))},
		{"unstored_entry", s.Unstored},
		{"refused_entry", s.Refused},
		{"invalid_message", s.Invalid},
		{"unauthorized", s.Unauthorized},
		{"refused_connection", s.Connections},
		{"accept", s.Accepts},
		{"damaged_read", s.Damaged},
	} {
		p.sample(name, float64(e.count), "kind", e.kind)
	}
}

// writeArchive adds the progress of the archive.
func writeArchive(p *page, s archive.Stats) {
	p.gauge("tcp_log_server_archive_through", "Index of the last entry in the archive.", float64(s.Through))
	p.gauge("tcp_log_server_archive_behind_entries", "Entries that the archive does not have yet.", float64(s.Entries))
	p.gauge("tcp_log_server_archive_behind_bytes", "Bytes of these entries in segments.", float64(s.Bytes))
	p.gauge("tcp_log_server_archive_behind_seconds", "How long ago the first of these entries was stored, at most.", s.Seconds)
	p.counter("tcp_log_server_archive_uploaded_bytes_total", "Bytes uploaded since the start.", uint64(s.Uploaded))
	p.gauge("tcp_log_server_archive_failing", "Whether the last attempt to archive has failed: 1 or 0.", truth(s.Error != ""))
	p.gauge("tcp_log_server_archive_stopped", "Whether another server archives there now, so that this one has stopped: 1 or 0.", truth(s.Stopped))
}
