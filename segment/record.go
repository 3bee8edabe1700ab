package segment

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/zeebo/blake3"
)

// Hash is the BLAKE3-256 of an entry's canonical bytes.
type Hash [32]byte

// String is the hash in lower-case hex, as b3sum prints it.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Sum hashes an entry's canonical bytes.
func Sum(entry []byte) Hash { return blake3.Sum256(entry) }

// Record is an entry's record in the index.
//
//	0      32     40     44    48
//	+------+------+------+-----+
//	| hash | time | size | crc |
//	+------+------+------+-----+
//
// The checksum is CRC32C over the record before it and then the entry's index in 8 bytes,
// so that a record in another record's place is invalid.
type Record struct {
	Hash Hash
	// Time is when the entry was committed, in µs since 1970 UTC.
	Time int64
	// Size is the length of the entry's canonical form in bytes. 0 means that fsck has
	// recorded the entry as permanently lost; Hash is then its former hash, if known, or
	// zero.
	Size uint32
}

// Lost reports whether the record stands for a permanently lost entry.
func (r Record) Lost() bool { return r.Size == 0 }

const (
	// RecordSize is the length of a record in bytes.
	RecordSize = 48
	// recordStride is the length of a record as tidwall/wal stores it: a varint of its
	// length, which takes one byte, and the record.
	recordStride = RecordSize + 1
	// RecordsPerFile is how many records a full file of the index holds. It determines
	// the file and the place of any record from its index alone. At 1.6 MB a file, the
	// tail that tidwall/wal keeps in memory stays small.
	RecordsPerFile = 32768
)

// appendTo encodes the record of the entry at index.
func (r Record) appendTo(dst []byte, index uint64) []byte {
	start := len(dst)
	dst = append(dst, r.Hash[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Time))
	dst = binary.LittleEndian.AppendUint32(dst, r.Size)
	dst = binary.LittleEndian.AppendUint64(dst, index)
	sum := Checksum(dst[start:])
	return binary.LittleEndian.AppendUint32(dst[:start+44], sum)
}

// parseRecord decodes the record of index as tidwall/wal stores it, including the length
// prefix. Errors wrap ErrDamaged.
func parseRecord(b []byte, index uint64) (Record, error) {
	var r Record
	if len(b) < recordStride {
		return r, fmt.Errorf("%w: record is %d bytes, want %d", ErrDamaged, len(b), recordStride)
	}
	if b[0] != RecordSize {
		return r, fmt.Errorf("%w: record has length prefix %d, want %d", ErrDamaged, b[0], RecordSize)
	}
	b = b[1:recordStride]
	if got, want := recordSum(b, index), binary.LittleEndian.Uint32(b[44:]); got != want {
		return r, fmt.Errorf("%w: record checksum is %08x, want %08x", ErrDamaged, got, want)
	}
	r.Hash = Hash(b[:32])
	r.Time = int64(binary.LittleEndian.Uint64(b[32:]))
	r.Size = binary.LittleEndian.Uint32(b[40:])
	return r, nil
}

// ParseRecords decodes a file of the index, as it is on disk, whose first record is that
// of first, and calls fn with each record. err says why a record is invalid, and wraps
// ErrDamaged; bytes after the last whole record count as an invalid one. An error of fn
// ends it.
func ParseRecords(b []byte, first uint64, fn func(index uint64, r Record, err error) error) error {
	for index := first; len(b) > 0; index++ {
		r, err := parseRecord(b, index)
		if err := fn(index, r, err); err != nil {
			return err
		}
		b = b[min(recordStride, len(b)):]
	}
	return nil
}

// RecordFileSize is the length in bytes of a full file of the index.
const RecordFileSize = RecordsPerFile * recordStride

// recordSum returns the checksum of the record in b and of index. It adds the index byte
// by byte: memory for both together would have to be allocated.
func recordSum(b []byte, index uint64) uint32 {
	sum := ^Checksum(b[:44])
	for range 8 {
		sum = castagnoli[byte(sum)^byte(index)] ^ sum>>8
		index >>= 8
	}
	return ^sum
}

// recordPlace returns the file that holds the record of index, as the file's first index,
// and the record's offset in it.
func recordPlace(index uint64) (first uint64, off int64) {
	n := (index - 1) % RecordsPerFile
	return index - n, int64(n) * recordStride
}

// recordFile returns tidwall/wal's name for the file that begins at first.
func recordFile(first uint64) string { return fmt.Sprintf("%020d", first) }

// RecordFile is one file of the index.
type RecordFile struct {
	Path  string
	First uint64
	Size  int64
}

// parseRecordFile returns the first index of the file of records with the given name.
func parseRecordFile(name string) (first uint64, ok bool) {
	first, err := strconv.ParseUint(name, 10, 64)
	return first, len(name) == 20 && err == nil && first > 0
}

// ListRecordFiles returns the files of the index in dir in the order of their first
// indices, and the names of entries in dir that are not part of it. Unlike tidwall/wal's
// own Open, it is certain to change nothing.
func ListRecordFiles(dir string) (files []RecordFile, strays []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		first, ok := parseRecordFile(name)
		if !ok || !e.Type().IsRegular() {
			if _, ok := parseMark(name); !ok || !e.IsDir() {
				strays = append(strays, name)
			}
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		files = append(files, RecordFile{Path: filepath.Join(dir, name), First: first, Size: fi.Size()})
	}
	slices.SortFunc(files, func(a, b RecordFile) int {
		if a.First < b.First {
			return -1
		}
		return 1
	})
	return files, strays, nil
}

// Readable returns the error of opening the file, if any.
func (f RecordFile) Readable() error {
	file, err := OpenRegular(f.Path)
	if err != nil {
		return err
	}
	return file.Close()
}

// LastRecord returns the index of the last valid record in the file, 0 if there is none.
// Bytes beyond the size of a full file are not read.
func (f RecordFile) LastRecord() (uint64, error) {
	file, err := OpenRegular(f.Path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	b := make([]byte, min(f.Size, RecordsPerFile*recordStride))
	n, err := file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	for i := n/recordStride - 1; i >= 0; i-- {
		index := f.First + uint64(i)
		if _, err := parseRecord(b[i*recordStride:n], index); err == nil {
			return index, nil
		}
	}
	return 0, nil
}

// recordReader reads records by their place, without tidwall/wal, whose Read cannot run
// concurrently. Not for concurrent use; make one for each reader.
type recordReader struct {
	dir   string
	f     *os.File
	first uint64
	buf   []byte
}

// newRecordReader returns a reader of the index in dir.
func newRecordReader(dir string) *recordReader { return &recordReader{dir: dir} }

// Read reads the records of from, from+1, … into dst and returns how many it has read:
// fewer than len(dst) where a file ends. An invalid record is a *DamageError, a missing
// one wraps ErrNotFound; the records before it have been read.
func (r *recordReader) Read(from uint64, dst []Record) (int, error) {
	first, off := recordPlace(from)
	path := filepath.Join(r.dir, recordFile(first))
	if r.f == nil || r.first != first {
		f, err := OpenRegular(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w: record of index %d: %w", ErrNotFound, from, err)
			}
			return 0, err
		}
		r.Close()
		r.f, r.first = f, first
	}
	want := min(len(dst), int(first+RecordsPerFile-from))
	if cap(r.buf) < want*recordStride {
		r.buf = make([]byte, want*recordStride)
	}
	b := r.buf[:want*recordStride]
	n, err := r.f.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	b = b[:n-n%recordStride]
	if len(b) == 0 {
		return 0, fmt.Errorf("%w: record of index %d: %s ends before it", ErrNotFound, from, path)
	}
	for i := range len(b) / recordStride {
		index := from + uint64(i)
		if dst[i], err = parseRecord(b[i*recordStride:], index); err != nil {
			return i, &DamageError{Path: path, Offset: off + int64(i)*recordStride, First: index, Last: index, Err: err}
		}
	}
	return len(b) / recordStride, nil
}

// Close closes the file that is open.
func (r *recordReader) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}
