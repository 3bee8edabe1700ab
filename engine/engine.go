// Package engine is an append-only log of canonical JSON entries in a directory, for programs
// that embed it. Open recovers the log, Append makes entries durable, Read returns them, and
// Acked reports when there are more. Close must be called.
package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// These goroutines work on an open log. The committer (append.go) makes appended entries durable
// in the open segment and acknowledges them; when the log is idle, the caller of Append commits
// instead. The sealer (disk.go) seals segments that are full. The settler (settle.go) follows
// the head, writes index records and blobs, and removes the segments that are then no longer
// needed. The watcher (watch.go) checks whether the directories are still in their places. Once
// the log has been asked which entries it holds, another goroutine keeps the tables of their
// hashes (hashes.go). Every byte on disk is left to package segment.

// Memory, in place of a directory, keeps that part of the store in memory.
const Memory = segment.Memory

// DefaultLooseMax is the default of Config.LooseMax: at about 100 µs, 4 KiB and one inode each,
// more files would burden every tool that walks them.
const DefaultLooseMax = 65536

// Config says where a log lies and how it keeps its entries. NewConfig fills in
// the defaults.
type Config struct {
	// Data is the log's directory, created if it does not exist, or Memory for a
	// log that ends with the process.
	Data string
	// WAL and Blobs are the directories of the index and of the blobs, by default Data/wal and
	// Data/blobs. WAL as Memory keeps no index, and Blobs as Memory writes no blob files: the
	// entries then stay packed in segments. Both as Memory is Data as Memory.
	WAL, Blobs string
	// BlobStore, unless nil, keeps the blobs in place of the directory Blobs, which must then be
	// empty. It is used until Close has returned, and not closed.
	BlobStore BlobStore
	// LooseMax is the most blob files that are written: once there are that many, further
	// entries stay packed in segments. 0 writes none, -1 sets no limit.
	LooseMax int
	// SegmentSize is the size in bytes at which a segment is sealed.
	SegmentSize int64
	// RemoveAfter is the least time for which a segment is kept after all its entries are in the
	// index and in blobs: the longest that copying the directories of a running log may take.
	RemoveAfter time.Duration
	// SettleEvery is the pause between two rounds of the settler. A round settles everything
	// while the log is quiet and a little under load.
	SettleEvery time.Duration
	// Store is the id that an empty log takes; if zero, a random one. Any other log must already
	// have this id, unless it is zero.
	Store segment.StoreID
	// ReplicaOf opens the log as a copy of another, and is the address of that log, without
	// secrets: Replicate stores entries in it, and appends are refused with ErrReplica. This is
	// permanent, see segment.Replica: until the log has been promoted, it cannot be opened
	// without ReplicaOf.
	ReplicaOf string
	// MayRemove, unless nil, is asked by the settler before a segment is removed because its
	// entries are in blobs: it reports whether all entries through last are elsewhere too. Until
	// they are, the segment and those after it stay. A segment that is removed because Archive
	// has it is compared with the copy there instead.
	MayRemove func(last uint64) bool
	// Archive, unless nil, gives the log the segments that were removed from its directory
	// because the archive has them, see KeepLocal. The directory says which they are; a log with
	// such segments cannot be opened without Archive.
	Archive Archive
	// KeepLocal, unless 0, is roughly how many bytes of sealed segments are kept in the
	// directory: beyond that the oldest are removed once Archive has the same. It needs the
	// index on disk.
	KeepLocal int64
	// OnBatch, unless nil, is told of each batch that was stored: how many entries it has, their
	// bytes, and how long its write and sync took. It is called before the completions, by one
	// goroutine at a time, and all appends wait for it.
	OnBatch func(entries, bytes int, took time.Duration)
	// Logger receives the events of the log's own life; the zero Logger drops them.
	Logger zerolog.Logger

	tableRows int // the rows of a new table of hashes; 0 for the default
}

// NewConfig returns a Config with the defaults for a log in the directory data.
func NewConfig(data string) Config {
	return Config{
		Data:        data,
		LooseMax:    DefaultLooseMax,
		SegmentSize: 64 << 20,
		RemoveAfter: 10 * time.Minute,
		SettleEvery: 250 * time.Millisecond,
	}
}

// validate fills in fields that follow from others and refuses invalid values.
func (c Config) validate() (Config, error) {
	if c.Data == "" {
		return c, errors.New("config: Data is empty, want a directory or \"memory\"")
	}
	if c.WAL == Memory && c.Blobs == Memory {
		c.Data = Memory
	}
	if c.BlobStore != nil {
		if c.Blobs != "" {
			return c, fmt.Errorf("config: Blobs is %s, want none, since there is a BlobStore, %s", c.Blobs, c.BlobStore)
		}
		c.Blobs = Memory // there is no directory
	} else if strings.Contains(c.Blobs, "://") {
		return c, fmt.Errorf("config: Blobs is %s, want a directory: another store is a BlobStore", c.Blobs)
	}
	dirs := segment.Dirs{Data: c.Data, WAL: c.WAL, Blobs: c.Blobs}.WithDefaults()
	c.WAL, c.Blobs = dirs.WAL, dirs.Blobs
	if c.Blobs == Memory && c.BlobStore == nil {
		c.LooseMax = 0
	}
	if c.LooseMax < -1 {
		return c, fmt.Errorf("config: LooseMax is %d, want -1, 0 or more", c.LooseMax)
	}
	if c.SegmentSize < 1<<10 || c.SegmentSize > 1<<30 {
		return c, fmt.Errorf("config: SegmentSize is %d, want 1 KiB to 1 GiB", c.SegmentSize)
	}
	if c.KeepLocal < 0 {
		return c, fmt.Errorf("config: KeepLocal is %d, want 0 or more", c.KeepLocal)
	}
	if c.KeepLocal > 0 && c.Archive == nil {
		return c, errors.New("config: KeepLocal needs Archive")
	}
	if c.KeepLocal > 0 && c.WAL == Memory {
		return c, errors.New("config: KeepLocal needs the index on disk, WAL is \"memory\"")
	}
	return c, nil
}

// store keeps batches. The leader calls commit, see queue; anyone calls read,
// for indices through the last commit that has returned.
type store interface {
	commit(batch []byte, count int, now time.Time) error
	// commitAll commits several batches, each as commit does, with one sync: as many as it can,
	// at least one. It returns how many.
	commitAll(batches []byte, specs []segment.BatchSpec) (n int, err error)
	// due and prepare are called after a commit that succeeded, by the leader, once the batch's
	// completions have run. due reports whether prepare has something to do that speeds up the
	// next commit; prepare may then have to wait for the disk.
	due() bool
	prepare()
	// prove makes the store record that its last batch is durable. The leader calls it while the
	// log is idle. Errors are those of commit.
	prove() error
	read(ctx context.Context, from, through uint64, fn ReadFunc) error
	// times returns a function for the time at which an entry was stored, in µs since 1970 UTC,
	// 0 if that is not known, and one to call when done with it.
	times(ctx context.Context) (timeAt func(index uint64) (int64, error), done func())
	stats(*Stats)
	name() segment.StoreID
	near() uint64
	// close is called once the committer has ended.
	close() error
}

// ReadFunc receives a run of entries that were stored at time, in µs since 1970 UTC, 0 where
// that is not known: count of them from index first on, each in canonical form and followed by a
// newline in entries, which is valid only during the call. If err is not nil, those count
// entries cannot be read; the read continues after them unless the function returns an error.
type ReadFunc = func(first uint64, count int, entries []byte, time int64, err error) error

// The arguments and results of an append.
type (
	Condition      = appends.Condition
	Result         = appends.Result
	Place          = appends.Place
	ConditionError = appends.ConditionError
)

// Log is an append-only log of canonical JSON entries in local storage. All
// methods may be called from any goroutine.
type Log struct {
	store  store
	disk   *disk // the store as opened; nil in memory
	queue  queue
	hooks  hookList
	prover prover
	// batch and inline are the memory of the batch that is being committed, and of a group of
	// one: the leader owns them, see queue.
	batch   []byte
	inline  [1]submission
	refused time.Time // when a refused batch was last logged
	opened  time.Time
	// tableRows is Config's.
	tableRows int
	standing  *standing
	clock     clock
	log       zerolog.Logger
	counts    counts
	onBatch   func(entries, bytes int, took time.Duration)

	head      atomic.Uint64        // the last durable entry
	lastStart atomic.Int64         // when the commit of the last batch began, in ns since opened
	acked     atomic.Pointer[mark] // what followers may see

	hashes  atomic.Pointer[hashes] // which entries the log holds; nil until first asked
	hashing hashing                // maintains hashes

	failure atomic.Pointer[error] // why appends are refused
	failed  chan struct{}         // closed with it

	committer sync.WaitGroup
	refusing  sync.Once
	refuses   chan struct{} // closed by Refuse
	closing   sync.Once
	closeErr  error
}

// mark is a head and a channel that is closed once the head has moved on.
type mark struct {
	head  uint64
	moved chan struct{}
}

// Open opens the log that config names and recovers it. It fails with ErrLocked while another
// process has it open, and with ErrDamaged where acknowledged entries are missing or altered.
func Open(config Config) (*Log, error) {
	config, err := config.validate()
	if err != nil {
		return nil, err
	}
	l := &Log{opened: time.Now(), log: config.Logger, onBatch: config.OnBatch, tableRows: config.tableRows, failed: make(chan struct{}), refuses: make(chan struct{})}
	l.clock.now = time.Now
	l.queue.wake = make(chan struct{}, 1)
	l.prover.timer = time.NewTimer(proveAfter)
	l.prover.armed = true
	if config.Data == Memory {
		l.store = newMemory(config.Store)
		l.standing, _ = loadStanding(config) // never fails
		l.publish(0)
	} else {
		d, head, err := openDisk(config)
		if err != nil {
			return nil, err
		}
		l.store, l.standing = d, d.standing
		l.clock.last = d.lastTime()
		l.head.Store(head)
		l.publish(head)
		d.start(l)
		l.disk = d
		if err := l.standing.fence(); err != nil && l.standing.source == "" {
			l.logFenced(err)
		}
	}
	l.counts.begin(l.head.Load())
	l.prover.head = l.head.Load()
	l.committer.Go(l.commit)
	if err := l.resumeHashes(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Segments returns the current segments of the log, in order; the last one is open. A log in
// memory has none. A segment may be removed at any time.
func (l *Log) Segments() []*segment.Segment {
	if l.disk == nil {
		return nil
	}
	return l.disk.list()
}

// publish shows head to followers.
func (l *Log) publish(head uint64) {
	old := l.acked.Swap(&mark{head: head, moved: make(chan struct{})})
	if old != nil {
		close(old.moved)
	}
}

// Head returns the index of the last durable entry, 0 in an empty log.
func (l *Log) Head(context.Context) (uint64, error) { return l.head.Load(), nil }

// Acked returns the head as followers see it: the completion of every append through it has run;
// entries stored by Replicate appear as soon as they are durable. moved is closed once there is
// a later head. Head may be briefly ahead of it, while completions run.
func (l *Log) Acked() (head uint64, moved <-chan struct{}) {
	m := l.acked.Load()
	return m.head, m.moved
}

// Read passes the entries from..through to fn in order, in runs of any length. Indices beyond
// the head are not read, and index 0 does not exist. Read returns fn's error, ctx's, or nil: an
// entry that cannot be read is passed to fn as such.
func (l *Log) Read(ctx context.Context, from, through uint64, fn ReadFunc) error {
	from, through = max(from, 1), min(through, l.head.Load())
	if from > through {
		return ctx.Err()
	}
	return l.store.read(ctx, from, through, fn)
}

// Near returns the first index from which on all entries are in the segments of the log's
// directory. Before it a Read may wait for Config.Archive or Config.BlobStore. It is 1 where
// there is neither.
func (l *Log) Near() uint64 { return l.store.near() }

// busy reports whether batches are being committed: one was recently, or is right now, however
// long it takes.
func (l *Log) busy() bool {
	_, leading, _ := l.queue.state()
	return leading || time.Since(l.opened)-time.Duration(l.lastStart.Load()) < quiet
}

// fail makes the log refuse appends from now on.
func (l *Log) fail(err error) {
	if l.failure.CompareAndSwap(nil, &err) {
		l.log.Error().Err(err).Str("event", "failed").Msg("the log takes no more appends; restart it to check the disk, and run fsck")
		close(l.failed)
	}
}

// Failed is closed when the log has stopped taking appends because a sync
// failed. Err then says why.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Err returns why the log has failed, nil while it has not.
func (l *Log) Err() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Refuse is for a log that has to close quickly: from now on, appends get ErrNotStored and
// ErrClosed in their turn, including those that already wait. Only the batch that is being
// committed is still made durable. Close then leaves to the next start any work that merely
// saves time there. Refuse does not wait, and may be called before or during Close, more than
// once.
func (l *Log) Refuse() { l.refusing.Do(func() { close(l.refuses) }) }

// isRefusing reports whether Refuse has been called.
func (l *Log) isRefusing() bool {
	select {
	case <-l.refuses:
		return true
	default:
		return false
	}
}

// Close makes appended entries durable and acknowledges them, refuses later appends, and closes
// the store. It returns why the log had failed, if it had. Later calls return what the first
// returned. How long it takes depends on how much has been appended and on the disk; Refuse
// bounds it.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.queue.close()
		l.committer.Wait()
		l.prover.timer.Stop()
		l.endHashes()
		l.closeErr = errors.Join(l.Err(), l.store.close())
	})
	return l.closeErr
}
