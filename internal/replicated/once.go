package replicated

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// An append with appends.Once is looked up by its hashes before it is sent: in tables on disk of
// what the log held some time ago, and in maps of what has come since. Both follow the log, from
// the first such append on. What another gateway may have sent meanwhile is up to the walker.

// once knows which entries the log holds.
type once struct {
	log *Log
	dir string // of the tables

	mu      sync.Mutex
	keeping *keeping      // nil if nobody has asked, or it has failed since
	ended   chan struct{} // closed when the directory is free for the next one; nil if it always was
}

// keeping is what a once keeps, until it fails or the log closes.
type keeping struct {
	tables *lookup.Set
	known  chan struct{} // closed when everything is known
	failed chan struct{} // closed when it is no longer kept
	err    error         // why; set before
	broken chan error    // takes why it cannot be kept

	mu      sync.Mutex
	maps    []*hashMap // oldest first; the last takes what is passed
	retired *hashMap   // the latest that has become a table
	full    chan *hashMap
	collect bool // messages that are passed are added
}

// hashMap has the entries from an index on.
type hashMap struct {
	first, last uint64
	places      map[hash]appends.Place // the first of equal ones
	rows        []lookup.Row
	end         hash // of the entry last
}

const (
	// filterBytes bounds the memory for the filters of tables.
	filterBytes = 16 << 20
	// mapsMax is how many maps may wait to become tables. One takes some 10 MB.
	mapsMax = 4
)

var errNotReady = errors.New("not stored: this server does not know yet which entries the log holds: send it again")

func newHashMap(first uint64) *hashMap {
	return &hashMap{first: first, last: first - 1, places: make(map[hash]appends.Place)}
}

// AwaitOnce waits until this gateway can tell of any entry whether the log holds it: the first
// time it reads all of the log for that, unless it has tables of before. The error begins with
// "not stored".
func (l *Log) AwaitOnce(ctx context.Context) error {
	k, err := l.once.start()
	if err != nil {
		return err // errClosed says that nothing is stored
	}
	select {
	case <-k.known:
		return nil
	default:
	}
	select {
	case <-k.known:
		return nil
	case <-k.failed:
		return fmt.Errorf("not stored: %w", k.err)
	case <-ctx.Done():
		return fmt.Errorf("not stored: %w", context.Cause(ctx))
	}
}

// current returns what is kept, nil if nothing is.
func (o *once) current() *keeping {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.keeping
}

// start begins to keep hashes, unless that has been done.
func (o *once) start() (*keeping, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keeping != nil {
		return o.keeping, nil
	}
	k := &keeping{known: make(chan struct{}), failed: make(chan struct{}), broken: make(chan error, 1), full: make(chan *hashMap, mapsMax)}
	before, ended := o.ended, make(chan struct{})
	if !o.log.spawn(func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		k.err = o.keep(k)
		o.give(k)
		close(k.failed)
		if k.tables != nil {
			k.tables.Close()
		}
		if o.log.ctx.Err() == nil {
			o.log.log.Error().Err(k.err).Str("event", "lookup").Msg("this server does not know any more which entries the log holds; it finds out again when that is asked")
		}
	}) {
		return nil, fmt.Errorf("not stored: %w", errClosed)
	}
	o.keeping, o.ended = k, ended
	return k, nil
}

// give gives k up: nothing is looked up in it any more.
func (o *once) give(k *keeping) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keeping == k {
		o.keeping = nil
	}
}

// keep opens the tables, has them catch up with the log, and then makes tables of full maps.
func (o *once) keep(k *keeping) error {
	ctx := o.log.ctx
	view := lookup.Log{Store: o.log.store, Head: o.log.Known(), Hash: o.hashAt}
	var err error
	if k.tables, _, err = lookup.OpenDir(o.dir, view, lookup.NewBudget(filterBytes)); err != nil {
		return err
	}
	for k.tables.Through()+lookup.TableRows < o.log.Known() {
		if err := o.catchUp(ctx, k, o.log.Known()); err != nil {
			return o.dropDamaged(k, err)
		}
	}
	// From here on what is passed is collected, and what is between is caught up with.
	c := &o.log.counter
	c.passing.Lock()
	through := o.log.Known()
	k.mu.Lock()
	k.maps, k.collect = []*hashMap{newHashMap(through + 1)}, true
	k.mu.Unlock()
	c.passing.Unlock()
	if err := o.catchUp(ctx, k, through); err != nil {
		return o.dropDamaged(k, err)
	}
	close(k.known)
	for {
		select {
		case m := <-k.full:
			if err := k.tables.Add(m.first, m.last, m.end, m.rows); err != nil {
				return o.dropDamaged(k, err)
			}
			m.rows = nil
			k.mu.Lock()
			k.maps = slices.DeleteFunc(k.maps, func(other *hashMap) bool { return other == m })
			k.retired = m
			k.mu.Unlock()
			if err := k.tables.Merge(ctx); err != nil {
				return o.dropDamaged(k, err)
			}
		case err := <-k.broken:
			return err
		case <-ctx.Done():
			return errClosed
		}
	}
}

// dropDamaged removes the table that err says is damaged, and those after it. Before that it gives
// k up: without them it would take entries of the log for new ones. It returns err.
func (o *once) dropDamaged(k *keeping, err error) error {
	var damaged *lookup.TableError
	if !errors.As(err, &damaged) {
		return err
	}
	o.give(k)
	err = errors.Join(err, k.tables.Drop(damaged.Table))
	select {
	case k.broken <- err:
	default:
	}
	return err
}

// catchUp adds tables of the entries through an index.
func (o *once) catchUp(ctx context.Context, k *keeping, through uint64) error {
	var m *hashMap
	flush := func() error {
		if m == nil || m.last < m.first {
			return nil
		}
		err := k.tables.Add(m.first, m.last, m.end, m.rows)
		m = nil
		if err == nil {
			err = k.tables.Merge(ctx)
		}
		return err
	}
	if k.tables.Through() >= through {
		return nil
	}
	err := o.log.Read(ctx, k.tables.Through()+1, through, func(first uint64, count int, entries []byte, at int64, err error) error {
		for i := range uint64(count) {
			if m == nil {
				m = newHashMap(first + i)
			}
			var sum hash
			if err == nil {
				n := lineEnd(entries)
				sum = segment.Sum(entries[:n-1])
				entries = entries[n:]
			}
			m.add(sum, at, err == nil)
			if len(m.rows) >= lookup.TableRows {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// add adds the next entry, which may be lost.
func (m *hashMap) add(sum hash, at int64, readable bool) {
	m.last++
	m.end = sum
	if !readable {
		return
	}
	if _, ok := m.places[sum]; !ok {
		m.places[sum] = appends.Place{Index: m.last, Seen: true, Time: at}
	}
	m.rows = append(m.rows, lookup.Row{Prefix: lookup.Prefix(sum), Delta: uint32(m.last - m.first)})
}

// pass adds what a message has added to the log, before anybody sees that.
func (o *once) pass(v *verdict) {
	k := o.current()
	if k == nil || v.count == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.collect {
		return
	}
	for rest := v.entries; len(rest) > 0; {
		n := lineEnd(rest)
		m := k.maps[len(k.maps)-1]
		m.add(segment.Sum(rest[:n-1]), v.time, true)
		rest = rest[n:]
		if len(m.rows) < lookup.TableRows {
			continue
		}
		select {
		case k.full <- m:
			k.maps = append(k.maps, newHashMap(m.last+1))
		default: // tables are not made as fast: the map grows meanwhile
		}
	}
}

// tableDir returns the directory for tables: the configured one, or one of this process that
// remove removes.
func tableDir(config *Config) (dir string, remove func(), err error) {
	if config.Lookup != "" {
		return config.Lookup, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "tcp-log-server-lookup-")
	return dir, func() { os.RemoveAll(dir) }, err
}
