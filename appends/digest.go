package appends

import (
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// Digest identifies a range of entries: two logs in which both sums are equal hold the same entries
// there, stored at the same times.
type Digest struct {
	// Entries is the BLAKE3-256 of the entries' hashes, 32 bytes each, and Times that of the times at
	// which they were stored, in µs since 1970 UTC, 8 bytes each, little-endian.
	Entries, Times [32]byte
}

// digestMemory is how many bytes of hashes are summed at a time.
const digestMemory = 32 << 10

// Digester computes the Digest of entries that are added in order.
type Digester struct {
	hashes, stamps []byte // of entries not summed yet
	entries, times *blake3.Hasher
}

// NewDigester returns a Digester of no entries.
func NewDigester() *Digester { return &Digester{entries: blake3.New(), times: blake3.New()} }

// Add adds an entry by its BLAKE3-256 and the time when it was stored, in µs since 1970 UTC. For a lost
// entry, the hash is zeros.
func (d *Digester) Add(hash [32]byte, time int64) {
	d.hashes = append(d.hashes, hash[:]...)
	d.stamps = binary.LittleEndian.AppendUint64(d.stamps, uint64(time))
	if len(d.hashes) >= digestMemory {
		d.flush()
	}
}

func (d *Digester) flush() {
	_, _ = d.entries.Write(d.hashes) // never fails
	_, _ = d.times.Write(d.stamps)
	d.hashes, d.stamps = d.hashes[:0], d.stamps[:0]
}

// Sum returns the Digest of the entries added so far. More may be added afterwards.
func (d *Digester) Sum() (sum Digest) {
	d.flush()
	d.entries.Sum(sum.Entries[:0])
	d.times.Sum(sum.Times[:0])
	return sum
}
