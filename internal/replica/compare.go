package replica

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/zeebo/blake3"

	"tcp-log-server/segment"
)

// compare compares this log with the source's from the first entry on, one index file at a time and
// only part of the time, and then compares new entries. It returns when ctx ends.
func (r *Replica) compare(ctx context.Context) {
	var q *question // kept until an error
	var warned string
	for ctx.Err() == nil {
		began := time.Now()
		more, err := false, error(nil)
		if r.comparable() {
			if q == nil {
				q, err = r.config.question(ctx)
			}
			if err == nil {
				more, err = r.compareNext(ctx, q)
			}
		}
		wait := r.pace.compare
		if more {
			wait = time.Since(began) * time.Duration(r.pace.load-1)
		}
		if err != nil && q != nil {
			q.hangUp()
			q = nil
		}
		if _, stopped := errors.AsType[*stopError](err); err != nil && !stopped && ctx.Err() == nil && err.Error() != warned {
			warned = err.Error() // Run logs what stops replication
			r.config.Logger.Warn().Err(err).Str("event", "replication").Msg("the logs cannot be compared now; trying again")
		}
		sleep(ctx, wait)
	}
	if q != nil {
		q.hangUp()
	}
}

// comparable reports whether there are entries to compare and a source to ask.
func (r *Replica) comparable() bool {
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	return r.state.connected && r.state.verified < r.state.durable
}

// compareNext compares the next entries, and reports whether there are more.
func (r *Replica) compareNext(ctx context.Context, q *question) (more bool, err error) {
	r.state.mu.Lock()
	from, head := r.state.verified+1, r.state.durable
	r.state.mu.Unlock()
	// Up to the end of an index file, so that most digests are of whole files.
	through := min((from-1)/segment.RecordsPerFile*segment.RecordsPerFile+segment.RecordsPerFile, head)
	switch index, err := r.difference(ctx, q, from, through); {
	case err != nil:
		return false, err
	case index > 0:
		return false, r.differ(index)
	}
	r.state.mu.Lock()
	r.state.verified = through
	r.state.mu.Unlock()
	return through < head, nil
}

// difference returns the first entry in from..through that differs between here and the source, or
// 0 if there is none. An entry that either side has recorded as lost counts as equal: it cannot be
// compared.
func (r *Replica) difference(ctx context.Context, q *question, from, through uint64) (uint64, error) {
	theirs, err := q.digest(from, through)
	if err != nil {
		return 0, err
	}
	own, err := r.config.Log.Digest(ctx, from, through)
	switch {
	case err != nil:
		return 0, err
	case theirs == digest{hex.EncodeToString(own.Entries[:]), hex.EncodeToString(own.Times[:])}:
		return 0, nil
	case from == through && (own.Entries == lostEntry || theirs.entries == hex.EncodeToString(lostEntry[:])):
		return 0, nil
	case from == through:
		return from, nil
	}
	middle := from + (through-from)/2
	if index, err := r.difference(ctx, q, from, middle); err != nil || index > 0 {
		return index, err
	}
	return r.difference(ctx, q, middle+1, through)
}

// questionMax is the maximum number of entries in one question: a digest takes time.
const questionMax = 1 << 20

// firstDifference returns the first entry in 1..through that differs, or 0.
func (r *Replica) firstDifference(ctx context.Context, q *question, through uint64) (index uint64, err error) {
	for from := uint64(1); from <= through && index == 0 && err == nil; from += questionMax {
		index, err = r.difference(ctx, q, from, min(from+questionMax-1, through))
	}
	return index, err
}

// lostEntry is the digest of a single lost entry.
var lostEntry = blake3.Sum256(make([]byte, 32))
