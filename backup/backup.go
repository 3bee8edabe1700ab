// Package backup copies a log, running or not, into a directory that is a whole log itself:
// consistent up to a head, verified as it is written, and in place all at once. Run makes the
// copy or brings it up to date. At every moment the destination is a whole log, the old one
// or the new one.
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

// What a backup does to its destination, in this order (backup.run):
//
//  1. Blobs are added. To the old log, they are orphans.
//  2. The new set of segments is made ready in DEST/incoming, linked from the
//     old set as far as it is the same.
//  3. It takes the place of the old set by one exchange of two directories. That
//     is the commit point: from here on the new log is there. Its index lags
//     behind its segments, as it may.
//  4. The index is extended, file by file, each by one rename.
//  5. Segments that the source has removed go, oldest first.
//
// There is one case in which the new set of segments cannot be put beside the
// old index, because it begins after what that holds: see bridge.go.

// Memory, in place of a directory, says that the log keeps that part in memory:
// there is nothing of it to copy.
const Memory = segment.Memory

// Config says what is copied, and where to.
type Config struct {
	// Data, WAL and Blobs are the directories of the log, as the server has them.
	Data, WAL, Blobs string
	// BlobStore, unless it is nil, has the log's blobs in place of the directory Blobs. The
	// backup gets them as files, read from the store and verified, so that it is a whole log
	// by itself: those that it lacks, remoteWorkers at a time.
	BlobStore segment.BlobStore
	// Dest is the directory of the backup. It is created if it does not exist;
	// otherwise it must be empty or hold an earlier backup of the same log.
	Dest string
	// Copy makes every file of the backup a copy of its own. Without it, files
	// that never change any more are cloned or hard-linked where the file system
	// can do that.
	Copy bool
	// Progress, unless nil, is told how many of the bytes or entries of a phase
	// are done. It is called from one goroutine at a time, often.
	Progress func(phase Phase, done, total int64)

	// step is called before each change to Dest with the name of what comes; an
	// error ends the backup there and then, as if the process were killed.
	step func(name string) error
	// exchange swaps two directories: in tests, on a file system that cannot.
	exchange func(a, b string) error
}

// Phase is a part of a backup that takes long enough to be watched.
type Phase string

// The phases. The first counts entries, the second bytes.
const (
	PhaseBlobs    Phase = "entries" // whose blobs are copied
	PhaseSegments Phase = "segments"
)

// Result says what a backup did.
type Result struct {
	Store segment.StoreID
	// Head is the index of the last entry in the backup, Before that of the one
	// before this run, 0 if there was none.
	Head, Before uint64
	// Segments and Blobs count the files that are new in the backup.
	Segments, Blobs int
	// Copied, Linked and Kept are bytes: written, cloned or hard-linked, and
	// there already from an earlier backup. Blobs that were there are not counted.
	Copied, Linked, Kept int64
	Took                 time.Duration
}

var (
	// ErrOther: Dest holds another log, or one that has gone another way than
	// this one since, or something that is no log. Nothing has been changed.
	ErrOther = errors.New("not an earlier backup of this log")
	// ErrNoLog: Data holds no log.
	ErrNoLog = errors.New("there is no log")
	// ErrUsage: the directories named cannot be backed up into one another.
	ErrUsage = errors.New("cannot be used as directories of a backup")
)

// Run makes or updates the backup. Errors wrap ErrOther, ErrNoLog, ErrUsage,
// segment.ErrLocked where Dest is in use, segment.ErrDamaged where the log or the
// earlier backup is damaged, segment.ErrUnavailable where BlobStore cannot be read, or are the file system's. After any error, and
// after a crash, Dest is what it was or what it was to become, and the same call
// completes it.
//
// A segment that the running log would remove in the meantime is kept by a hold
// (segment.Hold), which ends with the process.
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
	noClone, noLink      atomic.Bool // the file systems cannot do it, or are not to
	done, total          int64       // bytes of segments, for Progress
}

func (b *backup) result(start time.Time) Result {
	b.res.Copied, b.res.Linked, b.res.Kept = b.copied.Load(), b.linked.Load(), b.kept.Load()
	b.res.Took = time.Since(start)
	return b.res
}

// run changes the destination. The order of the calls is what keeps it whole.
func (b *backup) run() error {
	if err := b.dest.prepare(b); err != nil {
		return err
	}
	if !b.dest.exists() {
		// Nothing has to stay whole yet. Records without segments are what the
		// daemon refuses, so that half a backup is not taken for an empty log.
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

// checkApart refuses a destination that is, contains, or is inside one of the
// directories of the log.
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

// within reports whether path is dir or is below it, by the identity of the
// directories that exist, so whatever the ways that lead to them.
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
