package engine

import (
	"os"
	"sync"
)

const (
	// reserveFiles is how many descriptors are reserved for beginning a segment.
	reserveFiles = 6
	// reserveStep is how many of them are released at a time: for the segment and its
	// directory.
	reserveStep = 2
)

// reserve keeps descriptors, so that a process that can open no more files can still begin a
// segment, and appends on its connections continue.
type reserve struct {
	mu    sync.Mutex
	files []*os.File
}

// fill opens the missing descriptors, as far as it can.
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

// lend calls fn, which opens files. While fn fails because there are no descriptors left, lend
// frees reserveStep reserved ones and calls it again. A descriptor cannot be handed to fn:
// another goroutine that opens a file or accepts a connection at that moment may take it,
// hence several attempts. If all fail, lend returns fn's error: the append is not stored, and
// the next one tries again.
func (r *reserve) lend(fn func() error) error {
	defer r.fill()
	err := fn()
	for lacksFiles(err) && r.release(reserveStep) {
		err = fn()
	}
	return err
}

// release frees n of them, or as many as there are. It reports whether there were any.
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
