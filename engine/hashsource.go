package engine

import (
	"context"
	"errors"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// hashAhead is how many entries a hashSource reads and hashes at once.
const hashAhead = 4096

// hashSource gives the hashes of entries: from the index as far as it goes, then from the
// entries themselves. Not for concurrent use.
type hashSource struct {
	log *Log
	ctx context.Context

	records *reader // for its records; nil in memory
	ahead   []hashed
	first   uint64 // the index of ahead[0]
}

// hashed is the hash of an entry, which is known if ok, and the time when it was stored.
type hashed struct {
	hash segment.Hash
	time int64
	ok   bool
}

// view returns the log through an index for package lookup.
func (s *hashSource) view(store segment.StoreID, through uint64) lookup.Log {
	return lookup.Log{Store: store, Head: through, Hash: func(index uint64) (segment.Hash, bool, error) {
		hash, _, ok, err := s.at(index, through)
		return hash, ok, err
	}}
}

// at returns the hash and the time of the entry at index; ok is false if the entry is
// lost, or damaged so that its hash is unknown. The caller may go on through index
// through.
func (s *hashSource) at(index, through uint64) (hash segment.Hash, time int64, ok bool, err error) {
	if d := s.log.disk; d != nil && index <= d.settled.Load() {
		if s.records == nil {
			s.records = &reader{disk: d}
		}
		if rec, err := s.records.settledRecords().At(index); err == nil {
			return rec.Hash, rec.Time, !rec.Lost(), nil
		}
	}
	if index < s.first || index >= s.first+uint64(len(s.ahead)) {
		if err := s.read(index, min(through, index+hashAhead-1)); err != nil {
			return hash, 0, false, err
		}
	}
	h := s.ahead[index-s.first]
	return h.hash, h.time, h.ok, nil
}

// errUnread: the log did not return an entry below its head.
var errUnread = errors.New("the log read nothing below its head")

// read reads and hashes entries.
func (s *hashSource) read(from, through uint64) error {
	s.first, s.ahead = from, s.ahead[:0]
	err := s.log.Read(s.ctx, from, through, func(_ uint64, count int, entries []byte, time int64, err error) error {
		for range count {
			h := hashed{time: time}
			if err == nil {
				n := lineEnd(entries)
				h.hash, h.ok = segment.Sum(entries[:n-1]), true
				entries = entries[n:]
			}
			s.ahead = append(s.ahead, h)
		}
		return nil
	})
	if err == nil && len(s.ahead) == 0 {
		err = errUnread
	}
	return err
}

func (s *hashSource) close() {
	if s.records != nil {
		s.records.close()
	}
}
