// Package segment reads and writes the files of a log: segments, index records and blobs. It
// alone defines the bytes on disk; package engine decides the order of writes and the steps of
// recovery. Use engine to run a log, and this package to examine its files: Capture lists a
// store, File.Read reads the entries of a segment.
//
// docs/FORMAT.md describes the same bytes for readers in other languages.
package segment

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// A segment file, all integers little-endian:
//
//	+--------+---------+---------+-- - - --+---------+
//	| header | batch 1 | batch 2 |         | batch n |  zeros …              while open
//	+--------+---------+---------+-- - - --+---------+
//	| header | batch 1 | batch 2 |         | batch n | table | footer |      once sealed
//	+--------+---------+---------+-- - - --+---------+
//
// A batch is a BatchHeader and a body. The body is plain NDJSON: the canonical
// JSON of each entry and a newline, so strings(1) and grep(1) read a segment.
const (
	// Version is the format that this package writes and the only one it reads.
	Version = 1
	// HeaderSize is the length of a segment's header in bytes.
	HeaderSize = 64
	// BatchHeaderSize is the length of a batch's header in bytes.
	BatchHeaderSize = 48
	// RowSize is the length of one row of a sealed segment's table in bytes.
	RowSize = 8
	// FooterSize is the length of a sealed segment's footer in bytes.
	FooterSize = 64
	// MaxBody is the largest body of a batch in bytes. It keeps every offset of a segment
	// within the 32 bits of a table row.
	MaxBody = 1 << 30
	// MaxSize is the greatest offset at which the batches of a segment may end, for the same
	// reason. A longer file is a segment only if its footer says where its table is.
	MaxSize = 1 << 32
	// MinLine is the length of the shortest line in a body in bytes: an empty object and the
	// newline.
	MinLine = 3
)

// The three magics. None of them can occur in canonical JSON at a place where a batch header
// would be valid: a header's other fields contain zero bytes, which canonical JSON escapes.
var (
	headerMagic = [8]byte{'T', 'C', 'P', 'L', 'S', 'E', 'G', '\n'}
	batchMagic  = [4]byte{'B', 'T', 'C', 'H'}
	footerMagic = [8]byte{'T', 'C', 'P', 'L', 'E', 'N', 'D', '\n'}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C (Castagnoli), which all structures here use.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// StoreID is the random name of one store. Every segment carries it, and the directories of
// the index and of the blobs are marked with it, so that parts of different stores are never
// mixed up.
type StoreID [16]byte

// String returns the id in lower-case hex.
func (id StoreID) String() string { return hex.EncodeToString(id[:]) }

// ParseStoreID is the inverse of StoreID.String; ok is false for any other text.
func ParseStoreID(s string) (id StoreID, ok bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(id) {
		return id, false
	}
	return StoreID(raw), true
}

// Header opens every segment file.
//
//	0         8        12       16          32      40        48     52        60    64
//	+---------+--------+--------+-----------+-------+---------+------+---------+-----+
//	| TCPLSEG\n version| size 64| store id  | first | created | prev | 0       | crc |
//	+---------+--------+--------+-----------+-------+---------+------+---------+-----+
type Header struct {
	Store StoreID
	// First is the index of the segment's first entry, and its file's name.
	First uint64
	// Created is when the segment was begun, in µs since 1970 UTC.
	Created int64
	// Prev is the checksum of the last batch of the previous segment, 0 in the first segment:
	// the chain of checksums runs across files.
	Prev uint32
}

// appendTo encodes the header in HeaderSize bytes.
func (h Header) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, headerMagic[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	dst = binary.LittleEndian.AppendUint32(dst, HeaderSize)
	dst = append(dst, h.Store[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.First)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Created))
	dst = binary.LittleEndian.AppendUint32(dst, h.Prev)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, Checksum(dst[start:]))
}

// ParseHeader decodes the header at the start of b. Errors wrap ErrDamaged, or ErrVersion for
// an intact header of a later format.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < HeaderSize {
		return h, fmt.Errorf("%w: header is %d bytes, want %d", ErrDamaged, len(b), HeaderSize)
	}
	b = b[:HeaderSize]
	if [8]byte(b) != headerMagic {
		return h, fmt.Errorf("%w: header magic is %q, want %q", ErrDamaged, b[:8], headerMagic[:])
	}
	if got, want := Checksum(b[:60]), binary.LittleEndian.Uint32(b[60:]); got != want {
		return h, fmt.Errorf("%w: header checksum is %08x, want %08x", ErrDamaged, got, want)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return h, fmt.Errorf("%w: format is %d, this program reads %d", ErrVersion, v, Version)
	}
	h.Store = StoreID(b[16:32])
	h.First = binary.LittleEndian.Uint64(b[32:])
	h.Created = int64(binary.LittleEndian.Uint64(b[40:]))
	h.Prev = binary.LittleEndian.Uint32(b[48:])
	if h.First == 0 {
		return h, fmt.Errorf("%w: header has first index 0", ErrDamaged)
	}
	return h, nil
}

// BatchHeader opens every batch.
//
//	0      4      8       16      20     24     32       40     44     48
//	+------+------+-------+-------+------+------+--------+------+------+
//	| BTCH | size | first | count | prev | time | synced | body | crc  |
//	+------+------+-------+-------+------+------+--------+------+------+
type BatchHeader struct {
	// Size is the length of the body in bytes. 0 means that fsck has recorded the entries as
	// permanently lost: they keep their indices.
	Size uint32
	// First is the index of the first entry, Count the number of entries: at least 1.
	First uint64
	Count uint32
	// Prev is the Sum of the previous batch, or the header's checksum in a segment's first
	// batch.
	Prev uint32
	// Time is when the batch was committed, in µs since 1970 UTC.
	Time int64
	// Synced says that every byte of the file before this offset was durable when the batch
	// was written: anything invalid before it is damage, never a write that a crash cut short.
	Synced uint64
	// Body is the CRC32C of the body.
	Body uint32
	// Sum is the CRC32C of the preceding header fields. It covers Body and Prev, so it stands
	// for everything that was ever written up to here.
	Sum uint32
}

// put encodes the header into b[:BatchHeaderSize] and sets h.Sum.
func (h *BatchHeader) put(b []byte) {
	b = b[:BatchHeaderSize]
	copy(b, batchMagic[:])
	binary.LittleEndian.PutUint32(b[4:], h.Size)
	binary.LittleEndian.PutUint64(b[8:], h.First)
	binary.LittleEndian.PutUint32(b[16:], h.Count)
	binary.LittleEndian.PutUint32(b[20:], h.Prev)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.Time))
	binary.LittleEndian.PutUint64(b[32:], h.Synced)
	binary.LittleEndian.PutUint32(b[40:], h.Body)
	h.Sum = Checksum(b[:44])
	binary.LittleEndian.PutUint32(b[44:], h.Sum)
}

// ParseBatchHeader decodes the batch header at the start of b and checks its checksum and
// limits. Errors wrap ErrDamaged.
func ParseBatchHeader(b []byte) (BatchHeader, error) {
	var h BatchHeader
	if len(b) < BatchHeaderSize {
		return h, fmt.Errorf("%w: batch header is %d bytes, want %d", ErrDamaged, len(b), BatchHeaderSize)
	}
	b = b[:BatchHeaderSize]
	if [4]byte(b) != batchMagic {
		return h, fmt.Errorf("%w: batch magic is %q, want %q", ErrDamaged, b[:4], batchMagic[:])
	}
	h.Sum = binary.LittleEndian.Uint32(b[44:])
	if got := Checksum(b[:44]); got != h.Sum {
		return h, fmt.Errorf("%w: batch header checksum is %08x, want %08x", ErrDamaged, got, h.Sum)
	}
	h.Size = binary.LittleEndian.Uint32(b[4:])
	h.First = binary.LittleEndian.Uint64(b[8:])
	h.Count = binary.LittleEndian.Uint32(b[16:])
	h.Prev = binary.LittleEndian.Uint32(b[20:])
	h.Time = int64(binary.LittleEndian.Uint64(b[24:]))
	h.Synced = binary.LittleEndian.Uint64(b[32:])
	h.Body = binary.LittleEndian.Uint32(b[40:])
	switch {
	case h.Count == 0, h.First == 0, h.Last() < h.First:
		return h, fmt.Errorf("%w: batch of %d entries from index %d", ErrDamaged, h.Count, h.First)
	case h.Size > MaxBody, h.Size != 0 && uint64(h.Size) < MinLine*uint64(h.Count):
		return h, fmt.Errorf("%w: batch of %d entries in %d bytes", ErrDamaged, h.Count, h.Size)
	}
	return h, nil
}

// check returns why a batch with this header cannot be at off and begin with the index first.
// The error wraps ErrDamaged.
func (h BatchHeader) check(off int64, first uint64) error {
	switch {
	case h.First != first:
		return fmt.Errorf("%w: batch begins at index %d, want %d", ErrDamaged, h.First, first)
	case h.Synced > uint64(off):
		return fmt.Errorf("%w: batch has synced offset %d beyond itself", ErrDamaged, h.Synced)
	}
	return nil
}

// Lost reports whether the batch stands for permanently lost entries.
func (h BatchHeader) Lost() bool { return h.Size == 0 }

// Last returns the index of the batch's last entry.
func (h BatchHeader) Last() uint64 { return h.First + uint64(h.Count) - 1 }

// Row says where a batch begins. Rows are in ascending order of both fields.
//
//	0       4        8
//	+-------+--------+
//	| delta | offset |
//	+-------+--------+
type Row struct {
	// Delta is the index of the batch's first entry minus the segment's First.
	Delta uint32
	// Offset is where in the file the batch header begins.
	Offset uint32
}

// AppendRow encodes a row in RowSize bytes.
func AppendRow(dst []byte, r Row) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, r.Delta)
	return binary.LittleEndian.AppendUint32(dst, r.Offset)
}

// ParseRow decodes one row of a table from b[:RowSize].
func ParseRow(b []byte) Row {
	return Row{Delta: binary.LittleEndian.Uint32(b), Offset: binary.LittleEndian.Uint32(b[4:])}
}

// Footer ends a sealed segment. The table of Batches rows lies right before it.
//
//	0          8       16      24     32        36       40      44         48    52  60    64
//	+----------+-------+-------+------+---------+--------+-------+----------+-----+---+-----+
//	| TCPLEND\n| table | first | last | batches | sum    | rows  | repaired | own | 0 | crc |
//	+----------+-------+-------+------+---------+--------+-------+----------+-----+---+-----+
type Footer struct {
	// Table is the offset at which the table begins: the end of the last batch.
	Table uint64
	// First and Last are the indices of the first and the last entry.
	First, Last uint64
	// Batches is the number of batches, and of rows.
	Batches uint32
	// Sum is the next segment's Header.Prev: the checksum of the last batch as it was first
	// written.
	Sum uint32
	// Rows is the CRC32C of the table.
	Rows uint32
	// Repaired, 1 or 0 in the file, says that fsck has rewritten the segment and that its last
	// batch has changed. Own is then the current checksum of the last batch, and 0 otherwise.
	Repaired bool
	Own      uint32
}

// Chain returns the current checksum of the last batch according to the footer.
func (f Footer) Chain() uint32 {
	if f.Repaired {
		return f.Own
	}
	return f.Sum
}

func (f Footer) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, footerMagic[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, f.Table)
	dst = binary.LittleEndian.AppendUint64(dst, f.First)
	dst = binary.LittleEndian.AppendUint64(dst, f.Last)
	dst = binary.LittleEndian.AppendUint32(dst, f.Batches)
	dst = binary.LittleEndian.AppendUint32(dst, f.Sum)
	dst = binary.LittleEndian.AppendUint32(dst, f.Rows)
	repaired := uint32(0)
	if f.Repaired {
		repaired = 1
	}
	dst = binary.LittleEndian.AppendUint32(dst, repaired)
	dst = binary.LittleEndian.AppendUint32(dst, f.Own)
	dst = append(dst, make([]byte, 8)...)
	return binary.LittleEndian.AppendUint32(dst, Checksum(dst[start:]))
}

// ParseFooter decodes the footer in b, the last FooterSize bytes of a file of the given size.
// ok is false if there is no footer magic or the checksum is wrong, as it may be after a crash
// while the footer was written: such a file is not sealed, and a scan shows what it holds.
// Errors wrap ErrDamaged, and come with ok true if the footer is intact but does not fit the
// file.
func ParseFooter(b []byte, size int64) (f Footer, ok bool, err error) {
	if len(b) < FooterSize || [8]byte(b) != footerMagic {
		return f, false, nil
	}
	b = b[:FooterSize]
	if got, want := Checksum(b[:60]), binary.LittleEndian.Uint32(b[60:]); got != want {
		return f, false, fmt.Errorf("%w: footer checksum is %08x, want %08x", ErrDamaged, got, want)
	}
	f.Table = binary.LittleEndian.Uint64(b[8:])
	f.First = binary.LittleEndian.Uint64(b[16:])
	f.Last = binary.LittleEndian.Uint64(b[24:])
	f.Batches = binary.LittleEndian.Uint32(b[32:])
	f.Sum = binary.LittleEndian.Uint32(b[36:])
	f.Rows = binary.LittleEndian.Uint32(b[40:])
	f.Repaired = binary.LittleEndian.Uint32(b[44:]) != 0
	f.Own = binary.LittleEndian.Uint32(b[48:])
	want := f.Table + uint64(f.Batches)*RowSize + FooterSize
	switch {
	case f.Table > MaxSize:
		return f, true, fmt.Errorf("%w: footer has batches through offset %d, want at most %d", ErrDamaged, f.Table, int64(MaxSize))
	case f.Table < HeaderSize, want != uint64(size):
		return f, true, fmt.Errorf("%w: footer describes a file of %d bytes, it has %d", ErrDamaged, want, size)
	case f.First == 0, f.Last < f.First, f.Last-f.First+1 < uint64(f.Batches), f.Batches == 0:
		return f, true, fmt.Errorf("%w: footer has %d batches for indices %d to %d", ErrDamaged, f.Batches, f.First, f.Last)
	}
	return f, true, nil
}
