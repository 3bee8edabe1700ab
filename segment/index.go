package segment

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/wal"
)

// Index is the log's index: the record of every settled entry, in a tidwall/wal log in
// its own directory. Only this file imports tidwall/wal.
//
// It adds what tidwall/wal lacks: records carry checksums, a torn tail is trimmed before
// Open sees it, names are synced, files that something else has removed or replaced are
// noticed, and after any error the index is closed until Reopen. All methods have one
// owner; reading uses recordReader instead.
type Index struct {
	dir  string
	log  *wal.Log // nil while it is closed
	last uint64   // the record of last, and all before it, are durable
	recs wal.Batch
	buf  []byte

	// tail is the file that is written to, and changed when the names in the directory
	// last changed, as far as is known: see Check.
	tail    os.FileInfo
	changed time.Time
}

// OpenIndex opens the index in dir, creating it if necessary. It returns how many bytes
// it trimmed from the last file: records that a crash cut short, or that are invalid and
// so are not known.
//
// need is the last index whose record cannot be rebuilt from a segment: an index that
// would end before it is not trimmed but refused. So are files before the last one that
// are missing, cut or swollen. Both errors wrap ErrDamaged, and nothing has been changed
// then.
func OpenIndex(dir string, need uint64) (x *Index, trimmed int64, err error) {
	x = &Index{dir: dir}
	trimmed, err = x.Reopen(need)
	if err != nil {
		return nil, 0, err
	}
	return x, trimmed, nil
}

// checkRecordFiles verifies that files are where arithmetic looks for them: the first
// begins at index 1, each except the last is full, and the next begins right after it.
// Errors wrap ErrDamaged.
func checkRecordFiles(files []RecordFile) error {
	next := uint64(1)
	for i, f := range files {
		if f.First != next {
			return &DamageError{Path: f.Path, First: next, Last: f.First - 1, Err: fmt.Errorf("%w: file of the index begins at %d, want %d", ErrDamaged, f.First, next)}
		}
		next += RecordsPerFile
		full := int64(RecordsPerFile * recordStride)
		if f.Size > full || f.Size < full && i < len(files)-1 {
			return &DamageError{Path: f.Path, Offset: f.Size, First: f.First, Err: fmt.Errorf("%w: file of the index has %d bytes, want %d", ErrDamaged, f.Size, full)}
		}
	}
	return nil
}

// Reopen is OpenIndex for an index that an error has closed: Last is then the last record
// on the disk. It is the preflight and then tidwall/wal's Open.
func (x *Index) Reopen(need uint64) (trimmed int64, err error) {
	files, strays, err := ListRecordFiles(x.dir)
	if err != nil {
		return 0, err
	}
	if err := checkStrays(x.dir, strays); err != nil {
		return 0, err
	}
	if err := checkRecordFiles(files); err != nil {
		return 0, err
	}
	if len(files) == 0 && need > 0 {
		return 0, &DamageError{Path: x.dir, First: 1, Last: need, Err: fmt.Errorf("%w: the index is missing", ErrDamaged)}
	}
	if err := MakeDir(x.dir); err != nil {
		return 0, err
	}
	last, settle := uint64(0), func() error { return nil }
	if len(files) > 0 {
		tail := files[len(files)-1]
		n, why, err := wholeRecords(tail)
		if err != nil {
			return 0, err
		}
		last = tail.First - 1 + uint64(n)
		whole := int64(n) * recordStride
		if last < need {
			return 0, &DamageError{Path: tail.Path, Offset: whole, First: last + 1, Last: need, Err: why}
		}
		trimmed = tail.Size - whole
		settle = func() error { return x.settleTail(tail, whole, n == RecordsPerFile) }
	}
	err = ChangeNames(func() error {
		if err := settle(); err != nil {
			return err
		}
		return x.openLog()
	}, x.dir)
	if err != nil {
		return 0, x.drop(err)
	}
	if got, err := x.log.LastIndex(); err != nil || got != last {
		return 0, x.drop(fmt.Errorf("last index is %d (%v), want %d", got, err, last))
	}
	x.last = last
	return trimmed, x.remember()
}

// remember notes the state that Check compares with.
func (x *Index) remember() error {
	path, _, _ := RecordPath(x.dir, x.last+1)
	tail, err := os.Lstat(path)
	if err != nil {
		return x.drop(err)
	}
	dir, err := os.Stat(x.dir)
	if err != nil {
		return x.drop(err)
	}
	x.tail, x.changed = tail, dir.ModTime()
	return nil
}

// Check returns an error if the index is closed, or if something else has removed,
// replaced, cut or lengthened its files, judging by their names and lengths: records
// written to them may be lost. Then it closes the index.
func (x *Index) Check() error {
	if x.Closed() {
		return fmt.Errorf("index %s is closed", x.dir)
	}
	path, _, size := RecordPath(x.dir, x.last+1)
	switch fi, err := os.Lstat(path); {
	case err != nil:
		return x.drop(err)
	case !os.SameFile(fi, x.tail):
		return x.drop(fmt.Errorf("%s is another file than the one that was opened", path))
	case fi.Size() != size:
		return x.drop(fmt.Errorf("%s has %d bytes, want %d", path, fi.Size(), size))
	}
	dir, err := os.Stat(x.dir)
	if err != nil {
		return x.drop(err)
	}
	if dir.ModTime().Equal(x.changed) {
		return nil
	}
	files, _, err := ListRecordFiles(x.dir)
	if err == nil {
		err = checkRecordFiles(files)
	}
	if err != nil {
		return x.drop(err)
	}
	x.changed = dir.ModTime()
	return nil
}

// openLog is tidwall/wal's Open, which creates the first file.
func (x *Index) openLog() (err error) {
	x.log, err = wal.Open(x.dir, &wal.Options{
		NoSync:      true, // Append syncs, once per call
		SegmentSize: RecordsPerFile * recordStride,
		DirPerms:    dirPerm,
		FilePerms:   filePerm,
		NoCopy:      true,
		AllowEmpty:  true,
	})
	return err
}

// checkStrays refuses files that tidwall/wal would mistake for its own markers that files
// must be deleted or renamed: this log never makes one.
func checkStrays(dir string, strays []string) error {
	for _, name := range strays {
		digits, suffix, _ := strings.Cut(name, ".")
		if _, err := strconv.ParseUint(digits, 10, 64); err == nil && len(digits) == 20 && (suffix == "" || suffix == "START" || suffix == "END") {
			return &DamageError{Path: filepath.Join(dir, name), Err: fmt.Errorf("%w: the index holds something that is not its own: move it away", ErrDamaged)}
		}
	}
	return nil
}

// wholeRecords counts the valid records at the start of the file, and returns why the
// next one is invalid.
func wholeRecords(file RecordFile) (whole int, why, err error) {
	b, err := readRecordFile(file)
	if err != nil {
		return 0, nil, err
	}
	for ; ; whole++ {
		if _, why := parseRecord(b[whole*recordStride:], file.First+uint64(whole)); why != nil {
			return whole, why, nil
		}
	}
}

// readRecordFile reads a file of the index from the disk, not the page cache.
func readRecordFile(file RecordFile) ([]byte, error) {
	f, err := OpenRegular(file.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dropCache(f)
	b := make([]byte, file.Size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// settleTail cuts the last file to its valid records and makes them durable. If it is
// full, its successor is made here: tidwall/wal would put one record too many into it.
func (x *Index) settleTail(tail RecordFile, whole int64, full bool) error {
	f, err := os.OpenFile(tail.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if tail.Size > whole {
		err = f.Truncate(whole)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && full {
		next, cerr := os.OpenFile(filepath.Join(x.dir, recordFile(tail.First+RecordsPerFile)), os.O_CREATE|os.O_RDWR, filePerm)
		if cerr != nil {
			return cerr
		}
		err = next.Close()
	}
	return err
}

// Last returns the index of the last durable record, 0 if there is none; while the index
// is closed, of the last record before that.
func (x *Index) Last() uint64 { return x.last }

// Append appends the records of Last()+1, Last()+2, … and makes them durable. After an
// error the index is closed, and Reopen shows how far it goes.
func (x *Index) Append(recs []Record) error {
	if err := x.Check(); err != nil {
		return err
	}
	x.recs.Clear()
	for i, r := range recs {
		index := x.last + uint64(i) + 1
		x.buf = r.appendTo(x.buf[:0], index)
		x.recs.Write(index, x.buf)
	}
	through := x.last + uint64(len(recs))
	begins := x.last/RecordsPerFile != through/RecordsPerFile
	var err error
	if begins {
		// The name of a newly begun file must be durable as well.
		err = ChangeNames(x.write, x.dir)
	} else {
		err = x.write()
	}
	if err != nil {
		return x.drop(err)
	}
	x.last = through
	if begins {
		return x.remember()
	}
	return nil
}

// write writes the records in recs and makes them durable.
func (x *Index) write() error {
	if err := x.log.WriteBatch(&x.recs); err != nil {
		return err
	}
	return x.log.Sync()
}

// drop closes the index after an error: its memory may be ahead of, or differ from, the
// files.
func (x *Index) drop(err error) error {
	if x.log != nil {
		x.log.Close()
		x.log = nil
	}
	return fmt.Errorf("index %s: %w", x.dir, err)
}

// Closed reports whether the index is closed.
func (x *Index) Closed() bool { return x.log == nil }

// Close closes the index.
func (x *Index) Close() error {
	if x.log == nil {
		return nil
	}
	err := x.log.Close()
	x.log = nil
	return err
}

// LastRecord returns the index of the last valid record in dir, 0 if there is none: the
// last entry known to have been settled, whatever has become of records before it. It
// changes nothing. Only the last file is read; errors are those of OpenIndex.
func LastRecord(dir string) (uint64, error) {
	files, _, err := ListRecordFiles(dir)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	if err := checkRecordFiles(files); err != nil {
		return 0, err
	}
	tail := files[len(files)-1]
	b, err := readRecordFile(tail)
	if err != nil {
		return 0, err
	}
	for n := len(b) / recordStride; n > 0; n-- {
		index := tail.First + uint64(n) - 1
		if _, err := parseRecord(b[(n-1)*recordStride:], index); err == nil {
			return index, nil
		}
	}
	return tail.First - 1, nil
}
