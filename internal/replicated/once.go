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

// The hashes of an append with appends.Once are looked up before it is sent: in tables on disk for older
// entries, and in maps for the entries since. Both follow the log from the first such append on. The
// walker deals with what other gateways send in the meantime.

// once knows which entries the log holds.
type once struct {
	log *Log
	dir string // of the tables

	mu      sync.Mutex
	keeping *keeping      // nil before the first such append, or if it has failed since
	ended   chan struct{} // closed when the next one may use the directory; nil if it always could
}

// keeping is what a once keeps, until it fails or the log closes.
type keeping struct {
	tables *lookup.Set
	known  chan struct{} // closed when the tables and maps are complete
	failed chan struct{} // closed when it is no longer kept
	err    error         // why; set before
	broken chan error    // receives why it must end

	mu      sync.Mutex
	maps    []*hashMap // oldest first; the last collects new entries
	retired *hashMap   // the latest map that has become a table
	full    chan *hashMap
	collect bool // passed messages are added
}

// hashMap holds the entries from an index on.
type hashMap struct {
	first, last uint64
	places      map[hash]appends.Place // for equal entries, the first
	rows        []lookup.Row
	end         hash // of the last entry
}

const (
	// filterBytes bounds the memory of the tables' filters.
	filterBytes = 16 << 20
	// mapsMax is how many maps may wait to become tables. Each takes some 10 MB.
	mapsMax = 4
)

var errNotReady = errors.New("not stored: this server does not know yet which entries the log holds: send it again")

func newHashMap(first uint64) *hashMap {
	return &hashMap{first: first, last: first - 1, places: make(map[hash]appends.Place)}
}

// AwaitOnce waits until this gateway can tell for any entry whether the log holds it. The first time it
// reads the whole log, unless tables exist already. The error begins with "not stored".
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

// current returns what is kept, or nil.
func (o *once) current() *keeping {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.keeping
}

// start begins to keep hashes, unless they are kept already.
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
			o.log.log.Error().Err(k.err).Str("event", "lookup").Msg("this server no longer knows which entries the log holds; it reads the log again when needed")
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

// keep opens the tables, lets them catch up with the log, and then turns full maps into tables.
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
	// From here on new entries are collected, and the gap before them is filled by catching up.
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

// dropDamaged removes the table that err says is damaged, and all later ones. It gives k up first:
// without these tables it would mistake entries of the log for new ones. It returns err.
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

// catchUp adds tables of the entries up to through.
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

// add adds the next entry. It has no hash if it is not readable.
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

// pass collects the entries that a message has added to the log, before anybody sees them.
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
		default: // tables are made more slowly than entries come: the map grows
		}
	}
}

// tableDir returns the directory for tables: the configured one, or a temporary one that remove deletes.
func tableDir(config *Config) (dir string, remove func(), err error) {
	if config.Lookup != "" {
		return config.Lookup, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "tcp-log-server-lookup-")
	return dir, func() { os.RemoveAll(dir) }, err
}
