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

// DefaultEvery and DefaultRate are the defaults of the settings ARCHIVE_EVERY and
// ARCHIVE_RATE, in bytes a second.
const (
	DefaultEvery = 10 * time.Second
	DefaultRate  = 10 << 20
)

// claimTime is how long a start waits for the bucket. stopTime is how long Stop does.
const (
	claimTime = 5 * time.Second
	stopTime  = 2 * time.Second
)

// Log is what a Keeper needs of an engine.Log.
type Log interface {
	// Store is the id of the log, in hex.
	Store() string
	// Segments are the segments that there are now, in order; the last one is open.
	Segments() []*segment.Segment
}

// Config says what a Keeper archives, and where to.
type Config struct {
	Bucket bucket.Bucket
	// Dirs are the directories of the log.
	Dirs segment.Dirs
	// Every is how often what is new in the open segment goes up.
	Every time.Duration
	// TakeOver makes this directory the one that the archive is of, in place of another.
	TakeOver bool
	// Logger gets what happens to the archive; the zero Logger drops it.
	Logger zerolog.Logger
}

// Keeper keeps the archive of one log up to date. It uploads in the order of the indices: at
// every moment the bucket has all entries through Stats.Through.
type Keeper struct {
	Config
	log   Log
	local segment.Archived
	// written says that this is what the log's directory has, and so that there has been
	// an archive.
	written bool
	run     string // id of this start
	began   time.Time

	stopping chan struct{}
	done     chan struct{}
	stop     sync.Once
	cancel   context.CancelFunc

	// What the bucket has, as far as is known. Only the goroutine of the keeper uses these.
	claimed   bool
	since     time.Time // when it was
	over      bool      // taken over from another directory
	owner     uint64    // number of the own object in owner/
	looked    time.Time
	sealed    map[uint64]bool // by first index
	sealedEnd uint64          // last entry of the chain of sealed segments
	sealedSum uint32          // checksum that the segment after them follows
	obsolete  []Increment     // to be deleted once their segments are there as a whole
	strays    []Increment     // that continue nothing, or are not as long as their names say
	epoch     string
	index     map[uint64]bool
	indexNext uint64 // first file of the index that has not been looked at

	mu    sync.Mutex           // for what Stats reads
	open  map[uint64]Increment // of segments that are not there as a whole, how far they are: by first index
	state state
}

// New returns a Keeper, which does nothing before Start.
func New(config Config) *Keeper {
	if config.Every <= 0 {
		config.Every = DefaultEvery
	}
	config.Dirs = config.Dirs.WithDefaults()
	return &Keeper{Config: config, run: randomID(), began: time.Now(), stopping: make(chan struct{}), done: make(chan struct{}), open: make(map[uint64]Increment), indexNext: 1}
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Start claims the archive for the directory of the log, and begins to archive. If the bucket
// refuses that, the error says why, and what to do: it wraps ErrOther, ErrInUse or
// ErrDiverged. A bucket that cannot be reached now is claimed later.
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

// remember reads where the archive of the log's directory has been, and by which name the
// archive knows it.
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
			return // until the next start
		}
		tick.Reset(k.Every)
	}
}

// Stop uploads what is new, as far as there is time for that, and ends the keeper.
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

// errStopping ends a round for the sake of the last one.
var errStopping = errors.New("the server is stopping")
