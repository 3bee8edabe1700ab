package replicated

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// Looking entries up in what a once keeps.

// ready returns nil if entries can be looked up. The error begins with "not stored".
func (o *once) ready() error {
	_, err := o.known()
	return err
}

// known returns what is kept if it is complete.
func (o *once) known() (*keeping, error) {
	k := o.current()
	if k == nil {
		return nil, errNotReady
	}
	select {
	case <-k.known:
		return k, nil
	default:
		return nil, errNotReady
	}
}

// lookUp sets the places of all entries. A place has no index if the log did not hold the entry in what
// had been counted before the call. The error begins with "not stored".
func (o *once) lookUp(all []*appended) error {
	k, err := o.known()
	if err != nil {
		return err
	}
	// A map is dropped only after its table has been added, so maps come first.
	k.mu.Lock()
	for _, a := range all {
		a.places = make([]appends.Place, len(a.hashes))
		for i, sum := range a.hashes {
			a.places[i], _ = k.inMaps(sum)
		}
	}
	k.mu.Unlock()
	if err = o.inTables(k, all); err == nil && o.current() != k {
		err = errors.New("a table is damaged")
	}
	if err != nil {
		return fmt.Errorf("not stored: it cannot be looked up: %w", o.dropDamaged(k, err))
	}
	return nil
}

// lately returns the place of an entry that was passed recently. It reads nothing from disk.
func (o *once) lately(sum hash) (appends.Place, bool) {
	k, err := o.known()
	if err != nil {
		return appends.Place{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired != nil {
		if p, ok := k.retired.places[sum]; ok {
			return p, true
		}
	}
	return k.inMaps(sum)
}

// inMaps looks an entry up in the maps. The caller holds k.mu.
func (k *keeping) inMaps(sum hash) (appends.Place, bool) {
	for _, m := range k.maps {
		if p, ok := m.places[sum]; ok {
			return p, true
		}
	}
	return appends.Place{}, false
}

// found is an index that may hold an entry of an append.
type found struct {
	index uint64
	sum   hash
	place *appends.Place
}

// inTables looks all entries up in the tables, which cover older entries than the maps. The tables' hits
// are compared with the entries themselves; hits that are close together are read together.
func (o *once) inTables(k *keeping, all []*appended) error {
	var names []found
	for _, a := range all {
		for i, sum := range a.hashes {
			err := k.tables.Find(sum, func(index uint64) (stop bool, err error) {
				names = append(names, found{index, sum, &a.places[i]})
				return false, nil
			})
			if err != nil {
				return err
			}
		}
	}
	slices.SortFunc(names, func(a, b found) int { return cmp.Compare(a.index, b.index) })
	ctx, cancel := context.WithTimeout(o.log.ctx, lookTime)
	defer cancel()
	for len(names) > 0 {
		n := 1
		for n < len(names) && names[n].index-names[n-1].index < together {
			n++
		}
		if err := o.compare(ctx, names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

const (
	// together is the largest distance, in entries, between two hits that are read together.
	together = 256
	// lookTime limits reading the hits for the appends of one message.
	lookTime = 30 * time.Second
)

// compare sets the places of the names that turn out to be the entry looked for, to the lowest index if
// there are several. names are in order of index.
func (o *once) compare(ctx context.Context, names []found) error {
	return o.log.Read(ctx, names[0].index, names[len(names)-1].index, func(first uint64, count int, entries []byte, at int64, err error) error {
		for index := first; index < first+uint64(count); index++ {
			n := 0
			if err == nil {
				n = lineEnd(entries)
			}
			var sum hash
			for i := 0; len(names) > 0 && names[0].index == index; i++ {
				if i == 0 && err == nil {
					sum = segment.Sum(entries[:n-1])
				}
				// A place from the maps is that of a later entry.
				if p := names[0].place; err == nil && names[0].sum == sum && (p.Index == 0 || index < p.Index) {
					*p = appends.Place{Index: index, Seen: true, Time: at}
				}
				names = names[1:]
			}
			entries = entries[n:]
		}
		return nil
	})
}

// entryAt returns the hash and the time of an entry; ok is false if it is lost.
func (o *once) entryAt(ctx context.Context, index uint64) (sum hash, at int64, ok bool, err error) {
	err = o.log.Read(ctx, index, index, func(_ uint64, _ int, entry []byte, time int64, err error) error {
		if ok = err == nil; ok {
			sum, at = segment.Sum(entry[:len(entry)-1]), time
		}
		return nil
	})
	return sum, at, ok, err
}

// hashAt is entryAt for package lookup.
func (o *once) hashAt(index uint64) (sum segment.Hash, ok bool, err error) {
	sum, _, ok, err = o.entryAt(o.log.ctx, index)
	return sum, ok, err
}
