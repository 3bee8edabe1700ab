package metrics

import "time"

// writeProcess adds what the system reports about the process.
func writeProcess(p *page, started time.Time) {
	u := processUsage()
	for _, f := range []struct {
		name, kind, help string
		value            float64
	}{
		{"process_cpu_seconds_total", "counter", "Processor time used, the system's on behalf of the process included.", u.cpu},
		{"process_resident_memory_bytes", "gauge", "Memory in use.", u.resident},
		{"process_virtual_memory_bytes", "gauge", "Address space in use.", u.mapped},
		{"process_open_fds", "gauge", "Open file descriptors.", u.files},
		{"process_max_fds", "gauge", "How many file descriptors may be open.", u.maxFiles},
		{"process_threads", "gauge", "Threads of the system's.", u.threads},
	} {
		if f.value >= 0 {
			p.family(f.name, f.kind, f.help)
			p.sample(f.name, f.value)
		}
	}
	p.gauge("process_start_time_seconds", "When the process started, in seconds since 1970 UTC.", float64(started.UnixMilli())/1e3)
}

// usage is what a process uses of its machine; unknown values are negative.
type usage struct {
	cpu              float64 // seconds
	resident, mapped float64 // bytes
	files, maxFiles  float64
	threads          float64
}

// unknown returns a usage with all values unknown.
func unknown() usage { return usage{-1, -1, -1, -1, -1, -1} }
