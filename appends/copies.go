package appends

import (
	"encoding/binary"
	"hash/crc32"
)

// Epoch is a stretch of a log's life: each time a replica is promoted, the log that it becomes begins the
// next one. A log begins with Epoch{1, 1}.
type Epoch struct {
	Number uint64
	First  uint64 // the index of its first entry, which need not be stored yet
}

// BatchSum is the checksum of a batch on its way to a replica: the CRC-32C of its first index, its number
// of entries and their time in µs since 1970 UTC, each in 8 bytes, little-endian, and of its bytes.
func BatchSum(first uint64, count int, at int64, entries []byte) uint32 {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], first)
	binary.LittleEndian.PutUint64(b[8:], uint64(count))
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, entries)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
