package metrics

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/metrics/metricstest"
	"tcp-log-server/internal/syncreplicas"
	"tcp-log-server/server"
)

// fixed returns sources that never change.
func fixed(log engine.Stats, srv server.Stats) Sources {
	return Sources{
		Log:      func() engine.Stats { return log },
		Server:   func() server.Stats { return srv },
		Fenced:   func() bool { return true },
		Sync:     func() syncreplicas.Stats { return syncreplicas.Stats{Need: 53, Connected: 3, Waiting: 51, Unknown: 52} },
		Refusing: func() error { return nil },
	}
}

// scrape returns the exporter's page for these counts.
func scrape(t *testing.T, log engine.Stats, srv server.Stats) metricstest.Scrape {
	t.Helper()
	e := New(Build{Version: "v1.2.3", Revision: "abc"})
	e.Show(fixed(log, srv))
	return parse(t, string(e.page(true)))
}

func parse(t *testing.T, page string) metricstest.Scrape {
	t.Helper()
	s, err := metricstest.Parse(page)
	if err != nil {
		t.Fatalf("%v in\n%s", err, page)
	}
	return s
}

// TestValues: each count of the log and of the server is shown under its own name.
func TestValues(t *testing.T) {
	log := engine.Stats{
		Head: 1<<53 - 1, Settled: 2, First: 3, Loose: 4, Packed: 5, Unsettled: 6, Segments: 7, Bytes: 8,
		Entries: 9, Written: 10, Batches: 11, Rate: 12, Refused: 13, Failed: true, Stalled: errors.New("away"),
	}
	srv := server.Stats{
		Connections: 21, MaxConnections: 22, Accepted: 23, Replays: 24, Followers: 25, Behind: 26, MostBehind: 27,
		Replicas: 33, ReplicaBehind: 34, Hits: 28, Misses: 29, CacheBytes: 30, Received: 31, Sent: 32,
		Errors: server.Errors{Invalid: 41, Refused: 42, Unstored: 43, Damaged: 44, Connections: 45, Unauthorized: 46, Accepts: 47},
	}
	got := scrape(t, log, srv).Samples
	for name, want := range map[string]float64{
		"ready": 1, "head": 1<<53 - 1, "settled": 2, "loose_blobs": 4, "packed_entries": 5, "settle_backlog_entries": 6, "settle_stalled": 1,
		"segments": 7, "store_bytes": 8, "appended_entries_total": 9, "appended_bytes_total": 10, "failed": 1,
		"connections": 21, "max_connections": 22, "accepted_connections_total": 23,
		`readers{state="history"}`: 24, `readers{state="following"}`: 25,
		"readers_behind_entries": 26, "readers_behind_max_entries": 27,
		"replicas": 33, "replicas_behind_max_entries": 34, "fenced": 1,
		"sync_replicas": 53, "sync_replicas_missing": 50, "sync_replicas_waiting": 51, "sync_replicas_unknown_total": 52,
		"cache_hits_total": 28, "cache_misses_total": 29, "cache_bytes": 30,
		"received_bytes_total": 31, "sent_bytes_total": 32,
		`errors_total{kind="refused_batch"}`: 13, `errors_total{kind="failed_sync"}`: 1,
		`errors_total{kind="invalid_message"}`: 41, `errors_total{kind="refused_entry"}`: 42,
		`errors_total{kind="unstored_entry"}`: 43, `errors_total{kind="damaged_read"}`: 44,
		`errors_total{kind="refused_connection"}`: 45, `errors_total{kind="unauthorized"}`: 46,
		`errors_total{kind="accept"}`: 47,
	} {
		if value, ok := got["tcp_log_server_"+name]; !ok || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
	info := false
	for name := range got {
		info = info || strings.HasPrefix(name, `tcp_log_server_build_info{version="v1.2.3",revision="abc",goversion="go`)
	}
	if !info {
		t.Error("there is no build_info with version and revision")
	}
	log.Loose = -1
	if _, ok := scrape(t, log, srv).Samples["tcp_log_server_loose_blobs"]; ok {
		t.Error("uncounted blobs are shown")
	}
}

// TestNothingLeftOut: every counter of the log and the server is shown, except those named here.
func TestNothingLeftOut(t *testing.T) {
	hidden := []string{
		"First",               // the beginning of the segments says little: store_bytes has their size
		"Batches",             // the count of the histogram of batches
		"Rate",                // rate(appended_entries_total)
		"Syncing",             // the sum of the histogram of syncs
		"Archived", "Evicted", // shown with an archive: TestArchived
		"DiskUsed", "DiskFree", // machine monitoring has them
	}
	before := scrape(t, engine.Stats{}, server.Stats{}).Samples
	shown := func(name string, log engine.Stats, srv server.Stats) {
		changed := 0
		for sample, value := range scrape(t, log, srv).Samples {
			if strings.HasPrefix(sample, "tcp_log_server_") && value != before[sample] {
				changed++
			}
		}
		if (changed == 0) != slices.Contains(hidden, name) {
			t.Errorf("with %s set, %d samples are others", name, changed)
		}
	}
	each := func(v reflect.Value, then func(name string)) {
		for i := range v.NumField() {
			field := v.Field(i)
			switch field.Kind() {
			case reflect.Bool:
				field.SetBool(true)
			case reflect.Int, reflect.Int64:
				field.SetInt(77)
			case reflect.Uint64:
				field.SetUint(77)
			case reflect.Float64:
				field.SetFloat(77)
			case reflect.Interface:
				field.Set(reflect.ValueOf(errors.New("away")))
			case reflect.Struct:
				continue
			default:
				t.Fatalf("field %s is a %s", v.Type().Field(i).Name, field.Kind())
			}
			then(v.Type().Field(i).Name)
			field.SetZero()
		}
	}
	var log engine.Stats
	var srv server.Stats
	each(reflect.ValueOf(&log).Elem(), func(name string) { shown(name, log, srv) })
	each(reflect.ValueOf(&srv).Elem(), func(name string) { shown(name, log, srv) })
	each(reflect.ValueOf(&srv.Errors).Elem(), func(name string) { shown(name, log, srv) })
}

// TestHistograms: an observation is in the bucket of its size, including the bounds.
func TestHistograms(t *testing.T) {
	e := New(Build{})
	e.Show(fixed(engine.Stats{}, server.Stats{}))
	e.Batch(1, 256, 50*time.Microsecond)
	e.Batch(2, 257, 50*time.Microsecond+1)
	e.Batch(10_001, 1<<30, time.Minute)
	e.Ack(200 * time.Microsecond)
	e.Ack(-time.Second) // the clock was set back
	got := parse(t, string(e.page(true))).Samples
	for name, want := range map[string]float64{
		`batch_entries_bucket{le="1"}`: 1, `batch_entries_bucket{le="2"}`: 2, `batch_entries_bucket{le="10000"}`: 2,
		`batch_entries_bucket{le="+Inf"}`: 3, "batch_entries_sum": 10_004, "batch_entries_count": 3,
		`batch_bytes_bucket{le="256"}`: 1, `batch_bytes_bucket{le="1024"}`: 2, "batch_bytes_sum": 1<<30 + 513,
		`sync_seconds_bucket{le="5e-05"}`: 1, `sync_seconds_bucket{le="0.0001"}`: 2, `sync_seconds_bucket{le="10"}`: 2,
		`sync_seconds_bucket{le="+Inf"}`: 3, "sync_seconds_sum": 60.000100001, "sync_seconds_count": 3,
		`ack_seconds_bucket{le="5e-05"}`: 1, `ack_seconds_bucket{le="0.0001"}`: 1, `ack_seconds_bucket{le="0.0002"}`: 2,
		"ack_seconds_sum": 0.0002,
	} {
		if value, ok := got["tcp_log_server_"+name]; !ok || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
}

// TestObserving: concurrent observations are not lost, every page made in the meantime is complete,
// and observing does not allocate.
func TestObserving(t *testing.T) {
	e := New(Build{})
	e.Show(fixed(engine.Stats{}, server.Stats{}))
	const observers, each = 4, 2000
	var wg sync.WaitGroup
	for i := range observers {
		wg.Go(func() {
			for n := range each {
				e.Ack(time.Duration(n*(i+1)) * time.Microsecond)
			}
		})
	}
	for range 20 {
		parse(t, string(e.page(true)))
	}
	wg.Wait()
	if got := parse(t, string(e.page(true))).Samples["tcp_log_server_ack_seconds_count"]; got != observers*each {
		t.Errorf("%v observations are counted, want %d", got, observers*each)
	}
	if n := testing.AllocsPerRun(100, func() { e.Ack(time.Millisecond); e.Batch(1, 1, 1) }); n != 0 {
		t.Errorf("observing allocates %v times", n)
	}
}

// TestText: a label can have any content.
func TestText(t *testing.T) {
	p := &page{}
	p.family("g", "gauge", "A \\ and\nmore.")
	p.sample("g", 0.5, "a", "\"\\\n", "b", "ü")
	if got, want := string(p.b), "# HELP g A \\\\ and\\nmore.\n# TYPE g gauge\ng{a=\"\\\"\\\\\\n\",b=\"ü\"} 0.5\n"; got != want {
		t.Errorf("text is\n%s, want\n%s", got, want)
	}
	parse(t, string(p.b))
	for value, want := range map[float64]string{0: "0", -3: "-3", 1 << 52: "4503599627370496", 0.1: "0.1", 1e300: "1e+300", 5e-05: "5e-05"} {
		if got := number(value); got != want {
			t.Errorf("%v is written as %s, want %s", value, got, want)
		}
	}
}

// TestProcess: the metrics of the process and the runtime exist and are plausible.
func TestProcess(t *testing.T) {
	got := scrape(t, engine.Stats{}, server.Stats{})
	for _, name := range []string{"go_goroutines", "go_sched_gomaxprocs_threads", "go_memstats_heap_alloc_bytes", "go_memstats_alloc_bytes_total", "go_memstats_sys_bytes", "go_gc_gogc_percent"} {
		if got.Samples[name] < 1 {
			t.Errorf("%s is %v", name, got.Samples[name])
		}
	}
	for _, f := range goFamilies {
		if _, ok := got.Types[f.name]; !ok {
			t.Errorf("this Go does not have %s, for %s", f.sample, f.name)
		}
	}
	if started := got.Samples["process_start_time_seconds"]; started < float64(time.Now().Add(-time.Hour).Unix()) {
		t.Errorf("the process started at %v", started)
	}
}

// TestArchived: reads from an archive are shown if there is one.
func TestArchived(t *testing.T) {
	e := New(Build{})
	sources := fixed(engine.Stats{Archived: 1, Evicted: 2}, server.Stats{})
	sources.Archived = func() archived.Stats { return archived.Stats{Hits: 3, Misses: 4, Fetched: 5, Cached: 6} }
	e.Show(sources)
	page := string(e.page(true))
	for name, value := range map[string]int{"through": 1, "segments_total": 2, "hits_total": 3, "misses_total": 4, "fetched_bytes_total": 5, "cached_bytes": 6} {
		if line := fmt.Sprintf("\ntcp_log_server_archived_%s %d\n", name, value); !strings.Contains(page, line) {
			t.Errorf("the page lacks %q", line)
		}
	}
}
