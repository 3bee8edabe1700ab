// Package lookup finds the indices of entries by their hash: tables on disk map hashes to
// indices, each for a contiguous range of a log. They serve writes that must be stored
// only once.
//
// Everything here is derived from the log. A table that is damaged, missing or not of this
// log is made again, so nothing is repaired, and a Set removes tables that it cannot use.
// But a damaged table never answers "not there": anything invalid is an error that wraps
// segment.ErrDamaged.
//
// A table holds 8 of the 32 bytes of a hash. Two entries with equal prefixes are possible,
// so Find returns candidates: the caller compares the full hash with the index record or
// the entry.
//
// A log's tables form a Set. New entries make a table of their own, and Merge joins tables
// until each covers at least twice as many indices as the next one, so their number grows
// with the logarithm of the log. Each table has a filter that saves most lookups of absent
// hashes from reading any page.
//
// docs/FORMAT.md describes the bytes.
package lookup

import (
	"encoding/binary"
	"errors"
	"fmt"

	"tcp-log-server/segment"
)

var (
	// ErrStale: the table is intact, but not of this log: it belongs to another store, to
	// another history of it, or to entries that the log does not have.
	ErrStale = errors.New("not of this log")
	// ErrLeftover: an interrupted write left the file, or one that is under way has not
	// removed it yet. Nothing depends on it. It wraps ErrStale.
	ErrLeftover = fmt.Errorf("%w: left by an interrupted write", ErrStale)
	// ErrRows: the table is intact and of this log, but its rows do not match its entries,
	// as when entries were lost or restored since. Only a check finds that.
	ErrRows = errors.New("rows differ from the entries of the log")
)

// Row says that the hash of an entry begins with Prefix. Rows are sorted by Prefix, and
// equal prefixes by Delta.
type Row struct {
	// Prefix is the first 8 bytes of the hash as a big-endian number.
	Prefix uint64
	// Delta is the index of the entry minus the first index of its table.
	Delta uint32
}

// Prefix is the part of a hash that a Row holds.
func Prefix(h segment.Hash) uint64 { return binary.BigEndian.Uint64(h[:]) }

// Log is the log that tables belong to.
type Log struct {
	Store segment.StoreID
	// Head is the last index of the log. A table that goes further is stale.
	Head uint64
	// Hash returns the hash of the entry at index; ok is false if the entry is lost. With
	// an error it is not known, so the operation that needs it fails and leaves no trace.
	Hash func(index uint64) (hash segment.Hash, ok bool, err error)
}
