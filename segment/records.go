package segment

import "fmt"

// recordRun is the largest number of records that a Records reads at a time.
const recordRun = 4096

// Records looks up records of an index, best in ascending order: it reads them
// many at a time. Not for concurrent use.
type Records struct {
	r       *recordReader
	through uint64
	buf     []Record
	first   uint64 // the index of buf[0]
	run     int    // how many to read next: few after damaged records or a jump
}

// NewRecords returns a Records for the index in dir through the record of through. With
// Memory as dir there are no records.
func NewRecords(dir string, through uint64) *Records {
	if dir == Memory {
		return &Records{}
	}
	return &Records{r: newRecordReader(dir), through: through}
}

// Through returns the last index that At looks for.
func (c *Records) Through() uint64 { return c.through }

// Extend makes At look for records through the given index, if that is further than
// before: the records of an index are never changed, only added.
func (c *Records) Extend(through uint64) {
	if c.r != nil {
		c.through = max(c.through, through)
	}
}

// At returns the record of index. The error wraps ErrNotFound if there is none, is a
// *DamageError if it is invalid, and is otherwise the file system's.
func (c *Records) At(index uint64) (Record, error) {
	if n := index - c.first; index >= c.first && n < uint64(len(c.buf)) {
		return c.buf[n], nil
	}
	if index > c.through {
		return Record{}, fmt.Errorf("%w: the index has no record of %d", ErrNotFound, index)
	}
	if next := c.first + uint64(len(c.buf)); index != next {
		c.run = min(c.run, 64)
	}
	c.run = min(max(2*c.run, 64), recordRun)
	if cap(c.buf) < c.run {
		c.buf = make([]Record, c.run)
	}
	n, err := c.r.Read(index, c.buf[:min(uint64(c.run), c.through-index+1)])
	c.first, c.buf = index, c.buf[:n]
	if n == 0 {
		c.run = 0
		return Record{}, err
	}
	return c.buf[0], nil
}

// Close closes the file that is open. A later At opens it again.
func (c *Records) Close() error {
	if c.r == nil {
		return nil
	}
	return c.r.Close()
}

// ReadRecords reads the records of first to last from the index in dir. Errors are those
// of Records.At.
func ReadRecords(dir string, first, last uint64) ([]Record, error) {
	r := NewRecords(dir, last)
	defer r.Close()
	recs := make([]Record, 0, last-first+1)
	for index := first; index <= last; index++ {
		rec, err := r.At(index)
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}
