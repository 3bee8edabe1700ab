package metrics

import (
	"runtime"
	runtimemetrics "runtime/metrics"
)

// goFamilies are the metrics of the Go runtime, under the names that dashboards for Go programs
// expect. Reading them stops nothing.
var goFamilies = [...]struct{ sample, name, kind, help string }{
	{"/sched/goroutines:goroutines", "go_goroutines", "gauge", "Goroutines that exist."},
	{"/sched/gomaxprocs:threads", "go_sched_gomaxprocs_threads", "gauge", "Threads that may run Go code at once."},
	{"/gc/cycles/total:gc-cycles", "go_gc_cycles_total", "counter", "Garbage collections."},
	{"/cpu/classes/gc/total:cpu-seconds", "go_gc_cpu_seconds_total", "counter", "Estimated processor time of garbage collections."},
	{"/gc/heap/goal:bytes", "go_memstats_next_gc_bytes", "gauge", "Size of the heap at which the next collection ends."},
	{"/gc/gogc:percent", "go_gc_gogc_percent", "gauge", "GOGC: by how much of itself the heap grows between two collections."},
	{"/gc/gomemlimit:bytes", "go_gc_gomemlimit_bytes", "gauge", "GOMEMLIMIT: the memory that the runtime tries to stay below."},
	{"/gc/heap/allocs:bytes", "go_memstats_alloc_bytes_total", "counter", "Bytes ever allocated in the heap."},
	{"/gc/heap/allocs:objects", "go_memstats_mallocs_total", "counter", "Objects ever allocated in the heap."},
	{"/gc/heap/frees:objects", "go_memstats_frees_total", "counter", "Objects ever freed."},
	{"/gc/heap/objects:objects", "go_memstats_heap_objects", "gauge", "Objects in the heap."},
	{"/memory/classes/heap/objects:bytes", "go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects in the heap."},
	{"/memory/classes/heap/released:bytes", "go_memstats_heap_released_bytes", "gauge", "Bytes of the heap given back to the system."},
	{"/memory/classes/heap/stacks:bytes", "go_memstats_stack_inuse_bytes", "gauge", "Bytes of goroutines' stacks."},
	{"/memory/classes/total:bytes", "go_memstats_sys_bytes", "gauge", "Bytes that the runtime has mapped."},
	{"/sync/mutex/wait/total:seconds", "go_sync_mutex_wait_total_seconds_total", "counter", "Time that goroutines have waited for locks."},
}

// writeGo adds the metrics of the Go runtime.
func writeGo(p *page) {
	p.family("go_info", "gauge", "The version of Go; always 1.")
	p.sample("go_info", 1, "version", runtime.Version())
	var samples [len(goFamilies)]runtimemetrics.Sample
	for i, f := range goFamilies {
		samples[i].Name = f.sample
	}
	runtimemetrics.Read(samples[:])
	for i, f := range goFamilies {
		var value float64
		switch v := samples[i].Value; v.Kind() {
		case runtimemetrics.KindUint64:
			value = float64(v.Uint64())
		case runtimemetrics.KindFloat64:
			value = v.Float64()
		default:
			continue // removed in a later version of Go
		}
		p.family(f.name, f.kind, f.help)
		p.sample(f.name, value)
	}
}
