package engine

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

const (
	// hashMapsMax is how many maps there may be before appends wait for maps to be turned
	// into tables.
	hashMapsMax = 4
	// hashMapMemory is how much memory a full map takes, in bytes, as measured.
	hashMapMemory = 5 << 20
)

// hashMap has the first places of the entries in a range of indices.
type hashMap struct {
	first, last uint64                  // last grows
	hash        segment.Hash            // of the entry added last
	deltas      map[segment.Hash]uint32 // the index minus first
	rows        []lookup.Row            // of all entries, for the table
	times       []hashTime
	tabled      atomic.Bool // it has been written to a table
}

// hashTime is the time of the entries from an index on.
type hashTime struct {
	first uint64
	time  int64
}

func newHashMap(first uint64) *hashMap {
	return &hashMap{first: first, last: first - 1, deltas: make(map[segment.Hash]uint32)}
}

// add adds an entry, unless there is an equal one, and reports whether it did.
func (m *hashMap) add(hash segment.Hash, index uint64) bool {
	m.hash = hash
	if _, ok := m.deltas[hash]; ok {
		return false
	}
	m.deltas[hash] = uint32(index - m.first)
	return true
}

// extend notes that the entries from first to last were stored at time.
func (m *hashMap) extend(first, last uint64, time int64) {
	m.last = last
	if n := len(m.times); n == 0 || m.times[n-1].time != time {
		m.times = append(m.times, hashTime{first, time})
	}
}

// find returns the place of an entry, or the zero Place if it is not there.
func (m *hashMap) find(hash segment.Hash) Place {
	delta, ok := m.deltas[hash]
	if !ok {
		return Place{}
	}
	p := Place{Index: m.first + uint64(delta), Seen: true}
	if i := sort.Search(len(m.times), func(i int) bool { return m.times[i].first > p.Index }); i > 0 {
		p.Time = m.times[i-1].time
	}
	return p
}

// recentHashes holds the entries that are not in a table yet, in maps, oldest first; the
// last one takes additions. The leader owns it.
type recentHashes struct {
	collecting bool // there is a map
	rows       int  // at which a map is full; 0 for a log in memory, which has only one map
	maps       []*hashMap
	filling    int            // which map was the last when the batch under way began
	added      []segment.Hash // by that batch to that map
}

// begin begins to collect with the entry of an index.
func (r *recentHashes) begin(first uint64, rows int) {
	r.collecting, r.rows, r.maps = true, rows, []*hashMap{newHashMap(first)}
}

// add adds an entry of the batch under way.
func (r *recentHashes) add(hash segment.Hash, index uint64) {
	at := len(r.maps) - 1
	if r.isFull(r.maps[at]) { // in the middle of a large batch
		r.maps = append(r.maps, newHashMap(index))
		at++
	}
	m := r.maps[at]
	if m.add(hash, index) && at == r.filling {
		r.added = append(r.added, hash)
	}
	if r.rows > 0 {
		m.rows = append(m.rows, lookup.Row{Prefix: lookup.Prefix(hash), Delta: uint32(index - m.first)})
	}
}

func (r *recentHashes) isFull(m *hashMap) bool { return r.rows > 0 && len(m.rows) >= r.rows }

// addAll adds the entries of a submission, from index first on, to the batch under way.
func (r *recentHashes) addAll(s *submission, first uint64) {
	for i, hash := range s.hashes {
		r.add(hash, first+uint64(i))
	}
	if s.hashes != nil {
		return
	}
	for entries := s.entries; len(entries) > 0; first++ {
		n := lineEnd(entries)
		r.add(segment.Sum(entries[:n-1]), first)
		entries = entries[n:]
	}
}

// find returns the place of an entry, or the zero Place if it is not there.
func (r *recentHashes) find(hash segment.Hash) Place {
	for _, m := range r.maps {
		if p := m.find(hash); p.Index != 0 {
			return p
		}
	}
	return Place{}
}

// recently looks up an entry that is not in the tables, which cover all entries through an
// index.
func (h *hashes) recently(hash segment.Hash, through uint64) (Place, error) {
	switch {
	case h.tables == nil:
		if p := h.old.find(hash); p.Index != 0 {
			return p, nil
		}
	case through+1 < h.recent.maps[0].first: // there are more tables than there were
		if p, err := h.findOne(hash); err != nil || p.Index != 0 {
			return p, err
		}
	}
	return h.recent.find(hash), nil
}

// committed ends a batch: its additions stay if it was stored. It waits if tables are not
// made as fast as appends come in.
func (h *hashes) committed(c committed) {
	r := &h.recent
	maps := r.maps[r.filling:]
	switch m := maps[0]; {
	case c.err != nil:
		for _, hash := range r.added {
			delete(m.deltas, hash)
		}
		m.rows = m.rows[:min(len(m.rows), int(m.last+1-m.first))]
		clear(maps[1:])
		r.maps = r.maps[:r.filling+1]
	case c.count > 0:
		last := c.first + uint64(c.count) - 1
		for i, m := range maps {
			through := last
			if i+1 < len(maps) {
				through = maps[i+1].first - 1
			}
			m.extend(max(m.first, c.first), through, c.time)
			if r.isFull(m) {
				h.queue.push(m)
			}
		}
		if r.isFull(maps[len(maps)-1]) {
			r.maps = append(r.maps, newHashMap(last+1))
		}
		for r.dropTabled(); len(r.maps) > hashMapsMax && h.queue.await(h.ctx); {
			r.dropTabled()
		}
	}
	r.filling = len(r.maps) - 1
	if r.added = r.added[:0]; cap(r.added) > lookup.TableRows/4 {
		r.added = nil
	}
}

// dropTabled drops the maps that are in tables.
func (r *recentHashes) dropTabled() {
	for len(r.maps) > 1 && r.maps[0].tabled.Load() {
		r.maps[0] = nil
		r.maps = r.maps[1:]
	}
}

// tableQueue holds the maps that wait to become tables.
type tableQueue struct {
	mu   sync.Mutex
	full []*hashMap
	more chan struct{} // holds a token when there is one
	made chan struct{} // holds a token when a table has been made
}

func newTableQueue() tableQueue {
	return tableQueue{more: make(chan struct{}, 1), made: make(chan struct{}, 1)}
}

func (q *tableQueue) push(m *hashMap) {
	q.mu.Lock()
	q.full = append(q.full, m)
	q.mu.Unlock()
	notify(q.more)
}

// pop returns the next map, nil if there is none.
func (q *tableQueue) pop() (m *hashMap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.full) > 0 {
		m, q.full = q.full[0], q.full[1:]
	}
	return m
}

// await waits until a table has been made. It returns false if none will be.
func (q *tableQueue) await(ctx context.Context) bool {
	select {
	case <-q.made:
		return true
	case <-ctx.Done():
		return false
	}
}

// notify leaves a token.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// makeTables turns full maps into tables until it fails or the hashes are given up.
func (h *hashes) makeTables() error {
	for {
		m := h.queue.pop()
		if m == nil {
			select {
			case <-h.queue.more:
				continue
			case <-h.ctx.Done():
				return context.Cause(h.ctx)
			}
		}
		if err := h.tables.Add(m.first, m.last, m.hash, m.rows); err != nil {
			return err
		}
		m.tabled.Store(true)
		notify(h.queue.made)
		if err := h.tables.Merge(h.ctx); err != nil {
			return h.damage(err)
		}
	}
}
