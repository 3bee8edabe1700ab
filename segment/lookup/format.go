package lookup

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"tcp-log-server/segment"
)

// A table file is a sequence of pages:
//
//	+--------+-- - --+-- - - --+-- - - --+
//	| header | rows  | fences  | filter  |
//	+--------+-- - --+-- - - --+-- - - --+
//
// Each page ends with the CRC32C of the page's bytes before it and then, except in the
// header, the checksum of the header and the number of the page, 4 bytes each. So a page
// is invalid in the place of another, in this file or any other.
//
// Pages are those of the page cache: finding a hash takes one read of one page.
const (
	// Version is the format that this package writes and the only one it reads.
	Version = 1
	// PageSize is the length of a page in bytes.
	PageSize = 4096
	// RowSize is the length of a row in bytes.
	RowSize = 12

	pageData   = PageSize - 4
	fenceSize  = 8
	blockSize  = 64
	rowsPage   = pageData / RowSize   // rows in a page
	fencesPage = pageData / fenceSize // fences in a page
	blocksPage = pageData / blockSize // blocks of the filter in a page

	// maxSpan is the most indices that a table can cover: a Delta has 32 bits.
	maxSpan = 1 << 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var magic = [8]byte{'T', 'C', 'P', 'L', 'T', 'B', 'L', '\n'}

// Header is the first page of a table.
//
//	0         8         12       16      32      40     48     56     88    4092  4096
//	+---------+---------+--------+-------+-------+------+------+------+-----+-----+
//	| TCPLTBL\n version | page   | store | first | last | rows | hash | 0   | crc |
//	+---------+---------+--------+-------+-------+------+------+------+-----+-----+
type Header struct {
	Store segment.StoreID
	// First and Last are the indices that the table covers.
	First, Last uint64
	// Rows is the number of rows, one for each entry that is not lost.
	Rows uint64
	// Hash is that of the entry at index Last, zero if that is lost. It distinguishes a
	// table of this history of the log from one of another.
	Hash segment.Hash
}

// Span returns how many indices the table covers.
func (h Header) Span() uint64 { return h.Last - h.First + 1 }

// appendTo encodes the header in PageSize bytes.
func (h Header) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, Version)
	dst = binary.LittleEndian.AppendUint32(dst, PageSize)
	dst = append(dst, h.Store[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.First)
	dst = binary.LittleEndian.AppendUint64(dst, h.Last)
	dst = binary.LittleEndian.AppendUint64(dst, h.Rows)
	dst = append(dst, h.Hash[:]...)
	dst = append(dst, make([]byte, start+pageData-len(dst))...)
	return binary.LittleEndian.AppendUint32(dst, segment.Checksum(dst[start:]))
}

// check returns what is impossible about the header. The error wraps segment.ErrDamaged.
func (h Header) check() error {
	switch {
	case h.First == 0, h.Last < h.First, h.Span() > maxSpan:
		return fmt.Errorf("%w: table covers indices %d to %d", segment.ErrDamaged, h.First, h.Last)
	case h.Rows > h.Span():
		return fmt.Errorf("%w: table has %d rows for indices %d to %d", segment.ErrDamaged, h.Rows, h.First, h.Last)
	}
	return nil
}

// parseHeader decodes the header in the page b, and returns its checksum. Errors wrap
// segment.ErrDamaged, or segment.ErrVersion for a header of another format.
func parseHeader(b []byte) (h Header, sum uint32, err error) {
	if [8]byte(b) != magic {
		return h, 0, fmt.Errorf("%w: magic is %q, want %q", segment.ErrDamaged, b[:8], magic[:])
	}
	sum = binary.LittleEndian.Uint32(b[pageData:])
	if got := segment.Checksum(b[:pageData]); got != sum {
		return h, 0, fmt.Errorf("%w: header checksum is %08x, want %08x", segment.ErrDamaged, got, sum)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return h, 0, fmt.Errorf("%w: format of the table is %d, this program reads %d", segment.ErrVersion, v, Version)
	}
	h.Store = segment.StoreID(b[16:32])
	h.First = binary.LittleEndian.Uint64(b[32:])
	h.Last = binary.LittleEndian.Uint64(b[40:])
	h.Rows = binary.LittleEndian.Uint64(b[48:])
	h.Hash = segment.Hash(b[56:88])
	return h, sum, h.check()
}

// layout is where the parts of a table are, by page number; the header is page 0.
type layout struct {
	rows, fences, filter, end uint64 // first page of each part, and their number
	blocks                    uint64 // blocks of the filter
}

func (h Header) layout() layout {
	blocks := (h.Rows*bitsPerKey + blockSize*8 - 1) / (blockSize * 8)
	l := layout{rows: 1, blocks: blocks}
	l.fences = l.rows + pagesFor(h.Rows, rowsPage)
	l.filter = l.fences + pagesFor(l.fences-l.rows, fencesPage)
	l.end = l.filter + pagesFor(blocks, blocksPage)
	return l
}

// pagesFor returns how many pages n items take if a page holds perPage of them.
func pagesFor(n, perPage uint64) uint64 { return (n + perPage - 1) / perPage }

// pageSum returns the checksum of page number n of the table whose header has the
// checksum header.
func pageSum(page []byte, header uint32, n uint64) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint32(place[:], header)
	binary.LittleEndian.PutUint32(place[4:], uint32(n))
	return crc32.Update(segment.Checksum(page[:pageData]), castagnoli, place[:])
}

// checkPage compares page number n with its checksum. The error wraps segment.ErrDamaged.
func checkPage(page []byte, header uint32, n uint64) error {
	got, want := pageSum(page, header, n), binary.LittleEndian.Uint32(page[pageData:])
	if got != want {
		return fmt.Errorf("%w: checksum of page %d is %08x, want %08x", segment.ErrDamaged, n, got, want)
	}
	return nil
}

func putRow(b []byte, r Row) {
	binary.BigEndian.PutUint64(b, r.Prefix)
	binary.LittleEndian.PutUint32(b[8:], r.Delta)
}

func parseRow(b []byte) Row {
	return Row{Prefix: binary.BigEndian.Uint64(b), Delta: binary.LittleEndian.Uint32(b[8:])}
}

// suffix is the end of a table's file name, after its first and its last index, 20
// decimal digits each, with a hyphen in between.
const suffix = ".tbl"

// Name returns the file name of the table of the indices first to last.
func Name(first, last uint64) string { return fmt.Sprintf("%020d-%020d%s", first, last, suffix) }

// ParseName is the inverse of Name; ok is false for any other file name.
func ParseName(name string) (first, last uint64, ok bool) {
	digits, found := strings.CutSuffix(name, suffix)
	if !found || len(digits) != 41 || digits[20] != '-' {
		return 0, 0, false
	}
	first, err := strconv.ParseUint(digits[:20], 10, 64)
	last, err2 := strconv.ParseUint(digits[21:], 10, 64)
	return first, last, err == nil && err2 == nil && first > 0 && last >= first
}
