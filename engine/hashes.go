package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// hashes knows which entries the log holds. It is kept until the log closes or something
// goes wrong with it; then the next AwaitOnce begins another.
type hashes struct {
	log    *Log
	ctx    context.Context // done when the hashes were given up; its cause says why
	cancel context.CancelCauseFunc
	known  chan struct{} // closed when everything is known
	ready  atomic.Bool   // known is closed

	// Set before known is closed. A log in memory has no tables, but a map of the entries
	// that it held when the hashes were begun.
	tables *lookup.Set
	old    *hashMap

	verifying sync.Mutex
	verifier  hashSource // for candidates of the tables; guarded by verifying

	recent recentHashes
	queue  tableQueue
}

// filterMemory bounds the memory for the filters of tables, in bytes: enough for some
// 20,000,000 entries. Further filters are read from their files.
const filterMemory = 32 << 20

// HashMemory is roughly how much memory a log on disk needs at most, in bytes, to know
// which entries it holds, once AwaitOnce has asked for that.
const HashMemory = filterMemory + hashMapsMax*hashMapMemory

// startHashes returns the hashes of the log, and starts them if necessary. The error is
// ErrClosed, or why they failed a moment ago.
func (l *Log) startHashes() (*hashes, error) {
	l.hashing.mu.Lock()
	defer l.hashing.mu.Unlock()
	if h := l.hashes.Load(); h != nil {
		return h, nil
	}
	switch {
	case l.hashing.closed:
		return nil, ErrClosed
	case time.Since(l.hashing.failed) < hashesAgain:
		return nil, l.hashing.why
	}
	h := &hashes{log: l, known: make(chan struct{}), queue: newTableQueue()}
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	h.verifier = hashSource{log: l, ctx: h.ctx}
	l.hashes.Store(h)
	before := l.hashing.ended
	ended := make(chan struct{})
	l.hashing.ended = ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before // only one may use the tables at a time
		}
		h.run()
	}()
	return h, nil
}

// hashing maintains the hashes of a log.
type hashing struct {
	mu     sync.Mutex
	closed bool
	ended  chan struct{} // closed when the latest hashes have ended; nil before the first
	failed time.Time     // when they last failed on their own, and why
	why    error
}

// hashesAgain is how long after a failure the hashes are not restarted, so that a full
// disk is not tried constantly.
const hashesAgain = time.Second

// note notes that keeping the hashes has failed because of err.
func (k *hashing) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed, k.why = time.Now(), err
}

// endHashes ends for good what startHashes began.
func (l *Log) endHashes() {
	l.hashing.mu.Lock()
	l.hashing.closed = true
	ended := l.hashing.ended
	l.hashing.mu.Unlock()
	if h := l.hashes.Load(); h != nil {
		h.stop(ErrClosed)
	}
	if ended != nil {
		<-ended
	}
}

// stop gives up the hashes because of err.
func (h *hashes) stop(err error) {
	h.log.hashes.CompareAndSwap(h, nil)
	h.cancel(err)
}

// await waits until everything is known.
func (h *hashes) await(ctx context.Context) error {
	if h.ready.Load() {
		return nil
	}
	select {
	case <-h.known:
		return nil
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run keeps the hashes until they are given up.
func (h *hashes) run() {
	began := time.Now()
	err := h.open()
	if err == nil {
		err = h.catchUp()
	}
	if err == nil {
		h.ready.Store(true)
		close(h.known)
		h.log.log.Debug().Str("event", "lookup").Stringer("took", time.Since(began)).Msg("the log knows which entries it holds")
		err = h.makeTables()
	}
	if h.ctx.Err() == nil {
		h.log.hashing.note(err)
		h.log.log.Error().Err(err).Str("event", "lookup").Msg("the log no longer knows which entries it holds; it reads them again when needed")
	}
	h.stop(err)
	if h.tables != nil {
		h.tables.Close()
	}
	h.verifying.Lock()
	h.verifier.close()
	h.verifying.Unlock()
}

// open opens the tables.
func (h *hashes) open() error {
	d := h.log.disk
	if d == nil {
		return nil
	}
	source := hashSource{log: h.log, ctx: h.ctx}
	defer source.close()
	tables, dropped, err := lookup.OpenDir(lookupDir(d.cfg), source.view(d.id, h.log.head.Load()), lookup.NewBudget(filterMemory))
	if err != nil {
		return err
	}
	h.tables = tables
	for _, f := range dropped {
		d.log.Warn().Err(f.Err).Str("event", "lookup").Msg("a table of hashes is made again")
	}
	return nil
}

// catchUp adds the log's entries to the tables, up to where the leader takes over.
func (h *hashes) catchUp() error {
	if h.tables != nil {
		// Until little is left, which is then done while the leader collects.
		for h.tables.Through()+lookup.TableRows < h.log.head.Load() {
			if err := h.fill(h.log.head.Load()); err != nil {
				return err
			}
		}
	}
	through, err := h.collect()
	if err != nil {
		return err
	}
	return h.fill(through)
}

// fill adds tables through an index, or makes the map of a log in memory.
func (h *hashes) fill(through uint64) error {
	source := hashSource{log: h.log, ctx: h.ctx}
	defer source.close()
	if h.tables != nil {
		return h.damage(h.tables.Fill(h.ctx, source.view(h.log.disk.id, through)))
	}
	h.old = newHashMap(1)
	for index := uint64(1); index <= through; index++ {
		hash, time, ok, err := source.at(index, through)
		if err != nil {
			return err
		}
		if ok {
			h.old.add(hash, index)
		}
		h.old.extend(index, index, time)
	}
	return nil
}

// collect makes the leader begin to collect the hashes of entries stored after through.
func (h *hashes) collect() (through uint64, err error) {
	rows := 0
	if h.tables != nil {
		rows = cmp.Or(h.log.tableRows, lookup.TableRows)
	}
	done := make(chan error, 1)
	h.log.Submit(nil, 0, Condition{}, func(_ Result, err error) {
		if err == nil { // so the leader is calling
			through = h.log.head.Load()
			h.recent.begin(through+1, rows)
		}
		done <- err
	})
	return through, <-done
}

// find looks up the entries with these hashes in the tables, and sets the places of those
// that it finds. The tables cover all entries through the returned index.
func (h *hashes) find(hashes []segment.Hash, places []Place) (through uint64, err error) {
	if h.tables == nil {
		return 0, nil
	}
	through = h.tables.Through()
	for i, hash := range hashes {
		if places[i], err = h.findOne(hash); err != nil {
			return 0, err
		}
	}
	return through, nil
}

// findOne looks up one entry in the tables. The error wraps ErrNotStored.
func (h *hashes) findOne(hash segment.Hash) (place Place, err error) {
	err = h.tables.Find(hash, func(index uint64) (stop bool, err error) {
		got, time, ok, err := h.verify(index)
		if stop = ok && got == hash; stop {
			place = Place{Index: index, Seen: true, Time: time}
		}
		return stop, err
	})
	if err != nil {
		return Place{}, fmt.Errorf("%w: it cannot be looked up: %w", ErrNotStored, h.damage(err))
	}
	return place, nil
}

// verify returns the hash and the time of an entry; ok is false if it is lost. The index
// may still have the hash of an entry that fsck has recorded as lost in its segment: that
// entry is lost unless it can be read.
func (h *hashes) verify(index uint64) (hash segment.Hash, time int64, ok bool, err error) {
	lost := false
	if seg, _ := h.log.disk.find(index); seg != nil {
		if lost, err = seg.Lost(index); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hash, 0, false, err
		}
	}
	h.verifying.Lock()
	defer h.verifying.Unlock()
	if lost {
		if err := h.verifier.read(index, index); err != nil {
			return hash, 0, false, err
		}
		got := h.verifier.ahead[0]
		return got.hash, got.time, got.ok, nil
	}
	return h.verifier.at(index, index)
}

// damage gives up the hashes if err is damage to a table, which is removed, to be rebuilt.
// It returns err.
func (h *hashes) damage(err error) error {
	var damaged *lookup.TableError
	if errors.As(err, &damaged) {
		h.log.log.Error().Err(err).Str("event", "lookup").Msg("a table of hashes is damaged, and is made again")
		h.stop(errors.Join(err, h.tables.Drop(damaged.Table)))
	}
	return err
}

// resumeHashes starts the hashes of a log that has tables: it has been asked before which
// entries it holds.
func (l *Log) resumeHashes() error {
	if l.disk == nil {
		return nil
	}
	switch _, err := os.Stat(lookupDir(l.disk.cfg)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	_, err := l.startHashes()
	return err
}

// lookupDir returns the directory of the tables.
func lookupDir(config Config) string { return segment.Dirs{Data: config.Data}.Lookup() }
