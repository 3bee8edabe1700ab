// Package backup copies a log, running or not, into a directory that is a complete log itself:
// consistent up to a head, verified while it is written, and replaced in one step. Run makes or
// updates the copy. The destination is a complete log at every moment, the old one or the new one.
package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
)

// A backup changes its destination in this order (backup.run):
//
//  1. It adds blobs. To the old log, they are orphans.
//  2. It prepares the new set of segments in DEST/incoming, and links every segment
//     that the old set has already.
//  3. It exchanges the old set for the new one, in one step. This is the commit
//     point: from here on the new log is there. Its index may lag behind its segments.
//  4. It extends the index, one file at a time, each by one rename.
//  5. It removes the segments that the source has removed, oldest first.
//
// In one case the new set of segments does not fit the old index, because it begins after the end
// of that index: see bridge.go.

// Memory, in place of a directory, says that the log keeps that part in memory, so there is nothing
// to copy.
const Memory = segment.Memory

// Config says what to copy, and where.
type Config struct {
	// Data, WAL and Blobs are the directories of the log, as set for the server.
	Data, WAL, Blobs string
	// BlobStore, unless nil, has the log's blobs in place of the directory Blobs. The backup stores
	// them as files, so that it is a complete log by itself. It reads those it lacks from the
	// store, remoteWorkers at a time, and verifies them.
	BlobStore segment.BlobStore
	// Dest is the directory of the backup. It is created if it does not exist;
	// otherwise it must be empty or hold an earlier backup of the same log.
	Dest string
	// Copy makes every file of the backup a copy. Without it, files that no longer change are
	// cloned or hard-linked where the file system can do that.
	Copy bool
	// Progress, unless nil, gets the number of bytes or entries of a phase that are done. It is
	// called often, from one goroutine at a time.
	Progress func(phase Phase, done, total int64)

	// step is called before each change to Dest with the name of the change; its error ends the
	// backup at once, as if the process were killed.
	step func(name string) error
	// exchange swaps two directories. Tests replace it, to act like a file system that cannot.
	exchange func(a, b string) error
}

// Phase is a part of a backup that takes long enough to show its progress.
type Phase string

// The phases. The first counts entries, the second bytes.
const (
	PhaseBlobs    Phase = "entries" // for copying blobs
	PhaseSegments Phase = "segments"
)

// Result says what a backup did.
type Result struct {
	Store segment.StoreID
	// Head is the index of the last entry in the backup. Before is what it was before this run, 0
	// if there was no backup.
	Head, Before uint64
	// Segments and Blobs count the new files in the backup.
	Segments, Blobs int
	// Copied, Linked and Kept are the bytes that were written, that were cloned or hard-linked, and
	// that an earlier backup already had. Kept does not include blobs.
	Copied, Linked, Kept int64
	Took                 time.Duration
}

var (
	// ErrOther: Dest holds another log, a log that has diverged from this one, or no log. Nothing
	// has been changed.
	ErrOther = errors.New("not an earlier backup of this log")
	// ErrNoLog: Data holds no log.
	ErrNoLog = errors.New("there is no log")
	// ErrUsage: these directories cannot be backed up into one another.
	ErrUsage = errors.New("cannot be used as directories of a backup")
)

// Run makes or updates the backup. Errors wrap ErrOther, ErrNoLog, ErrUsage, ErrLost, ErrArchived,
// segment.ErrLocked if Dest is in use, segment.ErrDamaged if the log or the earlier backup is
// damaged, or segment.ErrUnavailable if BlobStore cannot be read, or are the file system's. After
// any error, and after a crash, Dest is the old log or the new one, and the same call completes the
// backup.
//
// A hold (segment.Hold) keeps the segments that the running log would remove in the meantime. It
// ends with the process.
func Run(ctx context.Context, config Config) (Result, error) {
	start := time.Now()
	dirs := segment.Dirs{Data: config.Data, WAL: config.WAL, Blobs: config.Blobs, BlobStore: config.BlobStore}.WithDefaults()
	config.WAL, config.Blobs = dirs.WAL, dirs.Blobs
	if config.step == nil {
		config.step = func(string) error { return nil }
	}
	if config.exchange == nil {
		config.exchange = exchange
	}
	if config.Progress == nil {
		config.Progress = func(Phase, int64, int64) {}
	}
	if err := checkApart(config); err != nil {
		return Result{}, err
	}
	src, err := openSource(ctx, config)
	if err != nil {
		return Result{}, err
	}
	defer src.close()
	dest, err := openDest(config, src)
	if err != nil {
		return Result{}, err
	}
	defer dest.close()
	b := &backup{Config: config, ctx: ctx, src: src, dest: dest}
	b.res.Store, b.res.Head, b.res.Before = src.id, src.head, dest.head
	b.noClone.Store(config.Copy)
	b.noLink.Store(config.Copy)
	if err := b.run(); err != nil {
		return b.result(start), err
	}
	return b.result(start), nil
}

// backup is one run.
type backup struct {
	Config
	ctx  context.Context
	src  *source
	dest *dest
	res  Result

	copied, linked, kept atomic.Int64
	noClone, noLink      atomic.Bool // not possible here, or not wanted
	done, total          int64       // bytes of segments, for Progress
}

func (b *backup) result(start time.Time) Result {
	b.res.Copied, b.res.Linked, b.res.Kept = b.copied.Load(), b.linked.Load(), b.kept.Load()
	b.res.Took = time.Since(start)
	return b.res
}

// run changes the destination. The order of the calls keeps it a complete log.
func (b *backup) run() error {
	if err := b.dest.prepare(b); err != nil {
		return err
	}
	if !b.dest.exists() {
		// There is no log yet to keep complete. The server refuses records without segments, so it
		// does not mistake half a backup for an empty log.
		if err := b.putIndex(); err != nil {
			return err
		}
	}
	if err := b.putBlobs(); err != nil {
		return err
	}
	if err := b.stageSegments(); err != nil {
		return err
	}
	if err := b.bridge(); err != nil {
		return err
	}
	if err := b.swap("commit", b.dest.staged()); err != nil {
		return err
	}
	if err := b.putIndex(); err != nil {
		return err
	}
	return b.prune()
}

// checkApart refuses a destination that is, contains, or is inside one of the log's directories.
func checkApart(config Config) error {
	if config.Data == Memory || config.Data == "" {
		return fmt.Errorf("%w: the log is in memory (DATA=%q), so there is nothing to back up", ErrUsage, config.Data)
	}
	if config.Dest == "" {
		return fmt.Errorf("%w: no destination is named", ErrUsage)
	}
	for _, dir := range []string{config.Data, config.WAL, config.Blobs} {
		if dir == Memory {
			continue
		}
		if within(config.Dest, dir) || within(dir, config.Dest) {
			return fmt.Errorf("%w: %s and %s: one lies in the other", ErrUsage, config.Dest, dir)
		}
	}
	return nil
}

// within reports whether path is dir or below it. It compares the identities of existing
// directories, so different paths to the same directory do not matter.
func within(path, dir string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for {
		if fi, err := os.Stat(path); err == nil && os.SameFile(fi, want) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
	}
}
