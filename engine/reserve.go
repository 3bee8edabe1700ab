package engine

import (
	"os"
	"sync"
)

// reserveFiles is how many descriptors are kept for beginning a segment: two for it and
// its directory, and two more for segments that are begun before the last is sealed.
const reserveFiles = 4

// reserve keeps descriptors, so that a process that can open no more files can still
// begin a segment: appends on its connections go on.
type reserve struct {
	mu    sync.Mutex
	files []*os.File
}

// fill takes as many descriptors as are missing, or as there are.
func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.files) < reserveFiles {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		r.files = append(r.files, f)
	}
}

// release gives them back, for whoever opens a file next.
func (r *reserve) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		f.Close()
	}
	r.files = nil
}
