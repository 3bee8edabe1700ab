package lookup

import (
	"fmt"

	"tcp-log-server/segment"
)

// cursor reads all rows of a table in order.
type cursor struct {
	t    *Table
	page uint64 // number of the next page to read
	buf  []byte // pages that were read
	at   int    // offset of the next row in buf
	left uint64 // remaining rows
	prev Row
}

func newCursor(t *Table) *cursor {
	return &cursor{t: t, page: t.l.rows, left: t.Rows}
}

// next returns the next row; ok is false at the end. Errors are those of reading the
// table, or wrap segment.ErrDamaged if a row is impossible in its place.
func (c *cursor) next() (r Row, ok bool, err error) {
	if c.left == 0 {
		return r, false, nil
	}
	first := c.left == c.t.Rows
	if at := c.at % PageSize; at == rowsPage*RowSize {
		c.at += PageSize - at
	}
	if c.at == len(c.buf) {
		if err := c.read(); err != nil {
			return r, false, err
		}
	}
	r = parseRow(c.buf[c.at:])
	switch page := c.page - uint64(len(c.buf)-c.at+PageSize-1)/PageSize; {
	case uint64(r.Delta) >= c.t.Span():
		return r, false, c.t.damage(page, c.t.beyond(r))
	case !first && compareRows(c.prev, r) >= 0:
		return r, false, c.t.damage(page, fmt.Errorf("%w: row of index %d is not in its order", segment.ErrDamaged, c.t.First+uint64(r.Delta)))
	case c.at%PageSize == 0 && c.t.fences[page-c.t.l.rows] != r.Prefix:
		return r, false, c.t.damage(page, fmt.Errorf("%w: page begins with prefix %016x, its fence is %016x", segment.ErrDamaged, r.Prefix, c.t.fences[page-c.t.l.rows]))
	}
	c.at += RowSize
	c.left--
	c.prev = r
	return r, true, nil
}

// read reads the next pages.
func (c *cursor) read() error {
	n := min(bufferedPages, c.t.l.fences-c.page)
	if c.buf == nil {
		c.buf = make([]byte, n*PageSize)
	}
	c.buf, c.at = c.buf[:n*PageSize], 0
	if err := c.t.readPages(c.buf, c.page); err != nil {
		return err
	}
	c.page += n
	return nil
}
