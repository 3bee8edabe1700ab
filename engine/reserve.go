package engine

import (
	"os"
	"sync"
)

const (
	// reserveFiles is how many descriptors are kept for beginning a segment.
	reserveFiles = 6
	// reserveStep is how many of them are given back at a time: for the segment and its
	// directory.
	reserveStep = 2
)

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

// lend calls fn, which opens files, and as long as it cannot for lack of descriptors, again
// with reserveStep more of them. Nothing hands a descriptor from one goroutine to another:
// one that opens a file, or accepts a connection, between giving back and fn gets it. So
// there are several tries. Where all are lost fn's error stands: the append is not stored,
// and the next one tries again with what descriptors there are then.
func (r *reserve) lend(fn func() error) error {
	defer r.fill()
	err := fn()
	for lacksFiles(err) && r.release(reserveStep) {
		err = fn()
	}
	return err
}

// release gives n of them back, or as many as there are, for whoever opens a file next. It
// reports whether there was one.
func (r *reserve) release(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.files))
	for _, f := range r.files[:n] {
		f.Close()
	}
	r.files = r.files[n:]
	return n > 0
}
