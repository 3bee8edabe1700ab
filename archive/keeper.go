package archive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// DefaultEvery and DefaultRate are the defaults of the settings ARCHIVE_EVERY, and ARCHIVE_RATE in
// bytes a second.
const (
	DefaultEvery = 10 * time.Second
	DefaultRate  = 10 << 20
)

// claimTime is how long Start waits for the bucket, stopTime how long Stop does.
const (
	claimTime = 5 * time.Second
	stopTime  = 2 * time.Second
)

// Log is the part of an engine.Log that a Keeper needs.
type Log interface {
	// Store is the ID of the log, in hex.
	Store() string
	// Segments returns the current segments in order; the last one is open.
	Segments() []*segment.Segment
}

// Config says what to archive, and where.
type Config struct {
	Bucket bucket.Bucket
	// Dirs are the directories of the log.
	Dirs segment.Dirs
	// Every is how often new entries of the open segment are uploaded.
	Every time.Duration
	// TakeOver lets this directory claim an archive that another directory owns.
	TakeOver bool
	// Logger logs what happens to the archive; the zero Logger drops it.
	Logger zerolog.Logger
}

// Keeper keeps the archive of one log up to date. It uploads entries in order, so the bucket always
// has all entries through Stats.Through.
type Keeper struct {
	Config
	log   Log
	local segment.Archived
	// written says that the log's directory has stored local, so there has been an archive.
	written bool
	run     string // ID of this run
	began   time.Time

	stopping chan struct{}
	done     chan struct{}
	stop     sync.Once
	cancel   context.CancelFunc

	// What the bucket has, as far as is known. Only the keeper's goroutine uses these fields.
	claimed   bool
	since     time.Time // of the claim
	over      bool      // taken over from another directory
	owner     uint64    // number of this keeper's object in owner/
	looked    time.Time
	sealed    map[uint64]bool // by first index
	sealedEnd uint64          // last entry of the chain of sealed segments
	sealedSum uint32          // checksum that the segment after them follows
	obsolete  []Increment     // to delete once the bucket has their segments sealed
	strays    []Increment     // that continue nothing, or do not have the size in their names
	epoch     string
	index     map[uint64]bool
	indexNext uint64 // first index file that has not been checked yet

	mu    sync.Mutex           // guards the fields that Stats reads
	open  map[uint64]Increment // last increment of each segment that the bucket does not have sealed, by first index
	state state
}

// New returns a Keeper that does nothing before Start.
func New(config Config) *Keeper {
	if config.Every <= 0 {
		config.Every = DefaultEvery
	}
	config.Dirs = config.Dirs.WithDefaults()
	return &Keeper{Config: config, run: randomID(), began: time.Now(), stopping: make(chan struct{}), done: make(chan struct{}), open: make(map[uint64]Increment), indexNext: 1}
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Start claims the archive for the log's directory and begins to archive. If the claim is refused,
// the error says why and what to do; it wraps ErrOther, ErrInUse or ErrDiverged. If the bucket is
// unreachable, the keeper claims it later.
func (k *Keeper) Start(ctx context.Context, log Log) error {
	k.log = log
	if err := k.remember(); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, claimTime)
	err := k.claim(within)
	cancel()
	if refuses(err) {
		return err
	}
	k.note(err)
	running, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go k.follow(running)
	return nil
}

// remember reads the place of the archive of the log's directory so far, and the name by which the
// archive knows the directory.
func (k *Keeper) remember() error {
	local, err := segment.ReadArchived(k.Dirs.Data)
	if err != nil {
		return err
	}
	before := local
	if local.URL != k.Bucket.String() {
		if local.Through > 0 {
			return moved(local, k.Bucket.String())
		}
		local.URL = k.Bucket.String()
	}
	if local.Instance == "" {
		local.Instance = randomID()
	}
	k.local, k.written = local, before.URL == local.URL && before.Instance == local.Instance
	return nil
}

// follow archives until Stop.
func (k *Keeper) follow(ctx context.Context) {
	defer close(k.done)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-k.stopping:
			k.note(k.last(ctx))
			return
		}
		err := k.round(ctx)
		if errors.Is(err, errStopping) {
			continue
		}
		if k.note(err); refuses(err) {
			return // until the server is restarted
		}
		tick.Reset(k.Every)
	}
}

// Stop uploads new entries, as far as time allows, and ends the keeper.
func (k *Keeper) Stop(ctx context.Context) {
	if k.cancel == nil {
		return
	}
	k.stop.Do(func() { close(k.stopping) })
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	select {
	case <-k.done:
	case <-ctx.Done():
	}
	k.cancel()
	<-k.done
}

// isStopping reports whether Stop has been called.
func (k *Keeper) isStopping() bool {
	select {
	case <-k.stopping:
		return true
	default:
		return false
	}
}

// errStopping ends a round early, to leave time for the last one.
var errStopping = errors.New("the server is stopping")
