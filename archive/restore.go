package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tcp-log-server/fsck"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// RestoreConfig says what to restore, and where.
type RestoreConfig struct {
	// Dir is the directory of the new log. It must not exist, be empty, or be left over from an
	// interrupted restore with the same configuration.
	Dir string
	// Through is the last entry to restore; 0 is the head of the archive.
	Through uint64
	// Until, unless zero, restores only the entries that were stored before it.
	Until time.Time
	// Store, unless zero, is the log that must be in the archive; the error wraps ErrOther if
	// another is.
	Store segment.StoreID
	// Progress, unless nil, gets the number of bytes downloaded, often, from one goroutine at a
	// time.
	Progress func(done, total int64)

	// step is called before each change to Dir, by several goroutines; its error ends the restore
	// as if the process were killed.
	step func(name string) error
}

// Restored is the result of a restore.
type Restored struct {
	Store    segment.StoreID
	Head     uint64 // index of the last entry
	Time     time.Time
	Digest   string // the same as fsck's
	Segments int
	Bytes    int64 // of the segments
	Took     time.Duration
}

var (
	// ErrNotEmpty: the target directory holds something else.
	ErrNotEmpty = errors.New("is not empty")
	// ErrNothing: the archive has none of the entries to restore.
	ErrNothing = errors.New("there is nothing to restore")
)

// transfers is how many segments are downloaded at a time, copyBuffer the memory in bytes that each
// takes.
const (
	transfers  = 4
	copyBuffer = 256 << 10
)

// Unfinished reports whether dir is left over from an interrupted Restore.
func Unfinished(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, stageName, planName))
	return err == nil
}

// Incomplete reports whether dir is left over from an interrupted Restore and is not a log yet.
func Incomplete(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "segments"))
	return err != nil && Unfinished(dir)
}

// Restore makes a log from the archive in b. The directory becomes a log only once everything in it
// has been verified and is durable. Until then the server refuses it, and the same call continues
// where the last one ended.
//
// The error wraps ErrNotEmpty, ErrNothing, ErrNoArchive, fsck.ErrBeyond if the archive ends before
// Through, or ErrDamaged, or is that of the bucket or the file system.
func Restore(ctx context.Context, b bucket.Bucket, config RestoreConfig) (Restored, error) {
	started := time.Now()
	if config.step == nil {
		config.step = func(string) error { return nil }
	}
	if config.Progress == nil {
		config.Progress = func(int64, int64) {}
	}
	a, err := Open(ctx, b)
	if err != nil {
		return Restored{}, err
	}
	if config.Store != (segment.StoreID{}) && config.Store != a.store {
		return Restored{}, fmt.Errorf("%s %w: its store is %s, want %s", b, ErrOther, a.store, config.Store)
	}
	r := &restore{RestoreConfig: config, a: a, ctx: ctx}
	if err := r.choose(); err != nil {
		return Restored{}, err
	}
	if err := r.prepare(); err != nil {
		return Restored{}, err
	}
	v, err := r.fill()
	if err != nil {
		return Restored{}, err
	}
	if err := r.commit(); err != nil {
		return Restored{}, err
	}
	res := Restored{Store: a.store, Head: v.next - 1, Digest: v.sumText(), Segments: len(r.parts), Bytes: r.total, Took: time.Since(started)}
	if res.Head > 0 {
		res.Time = time.UnixMicro(v.time)
	}
	return res, nil
}

// restore is one run of Restore.
type restore struct {
	RestoreConfig
	a     *Archive
	ctx   context.Context
	parts []part
	head  uint64
	total int64
}

// choose decides which entries to restore.
func (r *restore) choose() error {
	if err := cmp.Or(r.a.Complete(), r.a.epochDamage); err != nil {
		return fmt.Errorf("%w; `tcp-log-server fsck %s` says more", err, r.a.b)
	}
	r.head = r.a.Head()
	switch {
	case r.head == 0:
		return fmt.Errorf("%w: %s has no entries yet", ErrNothing, r.a.b)
	case r.Through > r.head:
		return fmt.Errorf("index %d %w: %d", r.Through, fsck.ErrBeyond, r.head)
	case r.Through > 0:
		r.head = r.Through
	}
	if !r.Until.IsZero() {
		next, err := r.a.Since(r.ctx, r.Until)
		if err != nil {
			return err
		}
		if next == 1 {
			return fmt.Errorf("%w: no entry in %s was stored before %s", ErrNothing, r.a.b, r.Until.Format(time.RFC3339Nano))
		}
		r.head = min(r.head, next-1)
	}
	for _, p := range r.a.parts {
		if p.first <= r.head {
			r.parts = append(r.parts, p)
			r.total += p.size
		}
	}
	return nil
}

// stageName is the subdirectory in which the log is prepared, and planName the file in it that says
// what is being restored.
const (
	stageName = "incoming"
	blobsName = "blobs"
	planName  = "restore.json"
)

// plan is the content of planName.
type plan struct {
	URL   string `json:"url"`
	Store string `json:"store"`
}

func (r *restore) in(name string) string { return filepath.Join(r.Dir, stageName, name) }
func (r *restore) wal() string           { return filepath.Join(r.Dir, "wal") }

// prepare makes the directories, or takes over those of an interrupted restore. The mark comes
// before everything else: a directory with a mark and no segments is not a log.
func (r *restore) prepare() error {
	want := plan{URL: r.a.b.String(), Store: r.a.store.String()}
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	resumed, placed, locked := false, false, false
	for _, e := range entries {
		switch e.Name() {
		case stageName:
			resumed = true
		case "segments":
			placed = true
		case "LOCK": // from a server that refused the directory, or from one that served it
			locked = true
		case "wal", blobsName, epochKey, epochKey + ".tmp":
		default:
			return fmt.Errorf("%s %w: it holds %s; name a directory that does not exist or is empty", r.Dir, ErrNotEmpty, e.Name())
		}
	}
	if placed && locked {
		return fmt.Errorf("%s %w: it holds a log; name a directory that does not exist or is empty", r.Dir, ErrNotEmpty)
	}
	if len(entries) > 0 {
		var found plan
		text, err := os.ReadFile(r.in(planName))
		if !resumed || err != nil || json.Unmarshal(text, &found) != nil || found != want {
			return fmt.Errorf("%s %w, and holds no unfinished restore of %s: name a directory that does not exist or is empty", r.Dir, ErrNotEmpty, want.URL)
		}
	}
	if err := r.takeBack(); err != nil {
		return err
	}
	if err := r.step("prepare"); err != nil {
		return err
	}
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if err := segment.MakeDir(r.in("")); err != nil {
		return err
	}
	if err := segment.ReplaceFile(r.in(planName), append(text, '\n')); err != nil {
		return err
	}
	if err := r.step("mark"); err != nil {
		return err
	}
	if err := segment.MakeDir(r.wal()); err != nil {
		return err
	}
	if err := segment.Mark(r.wal(), r.a.store); err != nil {
		return err
	}
	return segment.MakeDir(r.in("segments"))
}

// takeBack moves the segments back that an interrupted restore has put in place. No server has
// started there since, or there would be other files.
func (r *restore) takeBack() error {
	placed := filepath.Join(r.Dir, "segments")
	if _, err := os.Lstat(placed); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(r.in("segments")); err != nil {
		return err
	}
	return segment.Rename(placed, r.in("segments"))
}

// commit puts the segments in place: from then on, the directory is a log.
func (r *restore) commit() error {
	if err := segment.SyncDir(r.wal()); err != nil {
		return err
	}
	if err := segment.SyncDir(r.in("segments")); err != nil {
		return err
	}
	// The index says that there were blobs: without a directory for them, they could be elsewhere.
	if err := segment.MakeDir(filepath.Join(r.Dir, blobsName)); err != nil {
		return err
	}
	if err := segment.Mark(filepath.Join(r.Dir, blobsName), r.a.store); err != nil {
		return err
	}
	if epoch := cutEpoch(r.a.epoch, r.head); len(epoch) > 0 {
		if err := r.step("epoch"); err != nil {
			return err
		}
		if err := segment.ReplaceFile(filepath.Join(r.Dir, epochKey), epoch); err != nil {
			return err
		}
	}
	if err := r.step("commit"); err != nil {
		return err
	}
	if err := segment.Rename(r.in("segments"), filepath.Join(r.Dir, "segments")); err != nil {
		return err
	}
	if err := r.step("clear"); err != nil {
		return err
	}
	return segment.ChangeNames(func() error { return os.RemoveAll(r.in("")) }, r.Dir)
}
