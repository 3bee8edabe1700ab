// Package fsck checks the directories of a log without opening it: every record of the index, every
// batch of the segments, every blob, and that they agree. Check reports each problem as a Finding and
// changes nothing; it may run on a copy, on read-only media, and beside the server that writes to the
// log. Repair fixes what it can, and may not run beside a server.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"tcp-log-server/fsck/internal/repair"
	"tcp-log-server/segment"
)

// A check first captures the state of the directories (dirs.go, extent.go, index.go, lookup.go), then
// reads the blobs (readblobs.go), and then goes through the log in the order of the indices (walk.go,
// pipeline.go, segments.go), comparing segments, index and blobs (blobs.go). A repair (repair.go)
// checks, lets internal/repair carry out the plan that the check made, and checks again, until there
// is nothing left that it can do.

// Options are the directories to check, and how to check them.
type Options struct {
	// Data is the log's directory. WAL and Blobs are the directories of the index
	// and of the blobs, by default Data/wal and Data/blobs; segment.Memory if the log
	// keeps that part in memory.
	Data, WAL, Blobs string
	// BlobStore, unless nil, has the blobs in place of the directory Blobs. If it cannot be read, the
	// check fails.
	BlobStore segment.BlobStore
	// Quick skips the contents of blobs and of sealed segments.
	Quick bool
	// Through is the index through which the digest is computed; 0 is the head.
	Through uint64
	// Workers is how many goroutines read and hash; 0 is one for each core.
	Workers int
	// OnFinding receives every finding as it is made, one at a time. It may be nil.
	OnFinding func(Finding)
	// OnProgress receives the progress of each phase, one call at a time, about ten times a second. It
	// may be nil.
	OnProgress func(Progress)

	alone bool // no server can be running
}

// Progress is the progress of one phase of a check.
type Progress struct {
	// Phase is "blobs", counted in files, or "log", counted in bytes.
	Phase       string
	Done, Total int64
}

// ErrNoLog: the directory holds no part of a log.
var ErrNoLog = repair.ErrNoLog

// ErrBeyond: Options.Through is an index that the log does not have.
var ErrBeyond = errors.New("is beyond the head of the log")

// validate checks the options and fills in defaults.
func (o Options) validate() (Options, error) {
	dirs := o.dirs().WithDefaults()
	o.WAL, o.Blobs = dirs.WAL, dirs.Blobs
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.OnFinding == nil {
		o.OnFinding = func(Finding) {}
	}
	if fi, err := os.Stat(o.Data); gone(err) {
		return o, fmt.Errorf("%s %w: it does not exist", o.Data, ErrNoLog)
	} else if err != nil {
		return o, err
	} else if !fi.IsDir() {
		return o, fmt.Errorf("%s is not a directory", o.Data)
	}
	for _, dir := range []string{segmentDir(o.Data), o.WAL, o.Blobs} {
		if _, err := os.Lstat(dir); dir != segment.Memory && !gone(err) {
			return o, err
		}
	}
	return o, fmt.Errorf("%s %w: segments, wal and blobs are missing", o.Data, ErrNoLog)
}

// dirsExist refuses directories outside Data that are named and do not exist: with a
// wrong name, a log could look intact.
func (o Options) dirsExist() error {
	for _, dir := range []struct{ path, usual, what string }{{o.WAL, "wal", "index"}, {o.Blobs, "blobs", "blobs"}} {
		if dir.path == "" || dir.path == segment.Memory || filepath.Clean(dir.path) == filepath.Join(o.Data, dir.usual) {
			continue
		}
		if _, err := os.Lstat(dir.path); gone(err) {
			return fmt.Errorf("the directory of the %s: %w: is the name right, and the disk mounted?", dir.what, err)
		}
	}
	return nil
}

func (o Options) dirs() segment.Dirs {
	return segment.Dirs{Data: o.Data, WAL: o.WAL, Blobs: o.Blobs, BlobStore: o.BlobStore}
}

// segmentDir is the directory of the segments of the log in data.
func segmentDir(data string) string { return filepath.Join(data, "segments") }

// Check verifies the log. Findings are not errors: an error says that the check
// failed. It wraps ErrNoLog, ErrBeyond or segment.ErrUnavailable, or is ctx's or the file system's,
// such as fs.ErrNotExist for a WAL or Blobs that is named and does not exist.
func Check(ctx context.Context, options Options) (Summary, error) {
	if err := options.dirsExist(); err != nil {
		return Summary{}, err
	}
	sum, _, err := check(ctx, options)
	return sum, err
}

func check(ctx context.Context, options Options) (Summary, *repair.Plan, error) {
	options, err := options.validate()
	if err != nil {
		return Summary{}, nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c := &checker{Options: options, ctx: ctx, stop: stop, store: options.dirs().Store(), started: time.Now(), plan: repair.NewPlan()}
	err = c.run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return Summary{}, nil, err
	}
	return c.sum, c.plan, nil
}

// checker is one check.
type checker struct {
	Options
	ctx     context.Context
	stop    context.CancelCauseFunc // ends a check that can have no result
	store   segment.BlobStore       // the blobs, nil if there are none
	started time.Time

	mu       sync.Mutex // for findings, progress and when to report it next, which several goroutines update
	sum      Summary
	progress Progress
	due      time.Time

	plan *repair.Plan

	id      segment.StoreID // of the store
	idKnown bool
	// The index, or the blobs, are another store's: they are ignored.
	foreignIndex, foreignBlobs bool

	segs  []*checkedSegment // ascending
	first uint64            // the first index that segments hold, 1 in a log without any
	head  uint64            // the last entry, as captured at the start
	// archived says which entries are only in the log's archive.
	archived segment.Archived
	index    *records
	gaps     []Finding // those between segments whose entries are all in blobs

	tables []checkedTable // in the order of their files
	table  int            // the one that the walk has reached

	partial bool     // the digest lacks an entry
	later   []func() // findings to make at the end, unless a running server has removed the cause
}

// run is the check.
func (c *checker) run() error {
	defer c.closeTables()
	for _, step := range []func() error{c.top, c.listTables, c.capture, c.marks, c.extent, c.openTables} {
		if err := step(); err != nil {
			return err
		}
	}
	if c.Through > c.head {
		return fmt.Errorf("index %d %w: %d", c.Through, ErrBeyond, c.head)
	}
	if c.Through == 0 {
		c.Through = c.head
	}
	defer func() { c.index.Close() }()
	blobs, err := c.readBlobs()
	if err != nil {
		return err
	}
	w := &walker{checker: c, blobs: blobs}
	if err := w.run(); err != nil {
		return err
	}
	blobs.report(w.unknown)
	for _, find := range c.later {
		find()
	}
	c.leftovers()
	c.settledSegments()
	c.absentBlobs(blobs)
	c.finish()
	return nil
}

// finish fills in the summary and the plan.
func (c *checker) finish() {
	p := c.plan
	p.Store, p.StoreKnown, p.First, p.Head, p.Index, p.BlobFiles = c.id, c.idKnown, c.first, c.head, c.index.Index, c.sum.Blobs
	if c.idKnown {
		c.sum.Store = c.id.String()
	}
	c.sum.Entries, c.sum.First, c.sum.Quick = c.head, c.first, c.Quick
	c.sum.Segments, c.sum.Indexed, c.sum.Bytes = len(c.segs), c.index.Last, c.sum.Bytes+c.index.bytes
	for _, s := range c.segs {
		p.Segments = append(p.Segments, s.Segment)
		c.sum.Bytes += s.Size
	}
	c.sum.Seconds = time.Since(c.started).Seconds()
}

// find makes a finding, which has at least a file, a kind and a message.
func (c *checker) find(f Finding) {
	f.Severity = f.Kind.Severity()
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Severity == Error {
		c.sum.Errors++
	} else {
		c.sum.Hints++
	}
	c.OnFinding(f)
}

// unreadable makes the finding that a file cannot be read.
func (c *checker) unreadable(path string, first, last uint64, err error) {
	c.find(Finding{Kind: Unreadable, File: path, First: first, Last: last, Message: fmt.Sprintf("cannot be read: %v", err)})
}

// fault makes a finding on a segment, which must be rewritten.
func (c *checker) fault(s *checkedSegment, f Finding) {
	c.plan.Rebuild(s.First)
	f.File = s.Path
	c.find(f)
}

// unlessNew calls find at the end of the check if the file at path still exists then and was made
// before the check began: the server may just have made it.
func (c *checker) unlessNew(path string, find func(fs.FileInfo)) {
	c.later = append(c.later, func() {
		if fi, err := os.Lstat(path); err == nil && !c.young(fi.ModTime()) {
			find(fi)
		}
	})
}

// unlessChanged calls find at the end of the check if the file at path still has that size and, unless
// modified is zero, that time: a server may be writing to it.
func (c *checker) unlessChanged(path string, size int64, modified time.Time, find func()) {
	c.later = append(c.later, func() {
		if fi, err := os.Stat(path); err == nil && fi.Size() == size && (modified.IsZero() || modified.Equal(fi.ModTime())) {
			find()
		}
	})
}

// young reports whether a file was made after the check began, within the precision
// of clocks: the captured state of the log cannot refer to it.
func (c *checker) young(modified time.Time) bool {
	return !c.alone && modified.After(c.started.Add(-time.Second))
}

// gone reports whether the error says that a file does not exist.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// advance counts n more files or bytes of the phase.
func (c *checker) advance(phase string, n, total int64) {
	if c.OnProgress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.progress
	if p.Phase != phase {
		*p, c.due = Progress{Phase: phase, Total: total}, time.Time{}
	}
	p.Done += n
	if now := time.Now(); now.After(c.due) || p.Done == p.Total {
		c.due = now.Add(100 * time.Millisecond)
		c.OnProgress(*p)
	}
}
