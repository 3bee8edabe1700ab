package lookup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"tcp-log-server/segment"
)

// Budget bounds the memory for the filters of the tables that share it: 1.53 bytes an
// entry, so that 64 MiB are enough for 44 million entries. A filter that does not fit is
// read from its table, one page for each lookup. A nil Budget has no memory.
type Budget struct{ left atomic.Int64 }

// NewBudget returns a Budget of that many bytes.
func NewBudget(bytes int64) *Budget {
	b := new(Budget)
	b.left.Store(bytes)
	return b
}

func (b *Budget) take(bytes int64) bool {
	if b == nil {
		return false
	}
	if b.left.Add(-bytes) < 0 {
		b.left.Add(bytes)
		return false
	}
	return true
}

func (b *Budget) give(bytes int64) { b.left.Add(bytes) }

// Table is an open table. It may be used concurrently, until Close.
type Table struct {
	// Path is where the file was opened.
	Path string
	// Header is the file's header.
	Header

	f      *os.File
	l      layout
	sum    uint32   // of the header
	fences []uint64 // the first prefix of each page of rows
	budget *Budget
	filter atomic.Pointer[memory] // its pages, nil if they are not in memory

	views int // of a Set that use the table, guarded by Set.mu
}

// Open opens the table at path, of the log of store. It checks the header, the size of the
// file, the fences, and the filter if there is memory for it; every other page is checked
// when it is read. Errors wrap segment.ErrDamaged, segment.ErrVersion or ErrStale, or are
// those of opening a file.
func Open(path string, store segment.StoreID, budget *Budget) (*Table, error) {
	f, err := segment.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	t := &Table{Path: path, f: f, budget: budget}
	if err := t.open(store); err != nil {
		f.Close()
		return nil, err
	}
	if err := t.keepFilter(); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *Table) open(store segment.StoreID) error {
	fi, err := t.f.Stat()
	if err != nil {
		return err
	}
	var page [PageSize]byte
	if err := t.readAt(page[:], 0); err != nil {
		return err
	}
	if t.Header, t.sum, err = parseHeader(page[:]); errors.Is(err, segment.ErrVersion) {
		return fmt.Errorf("%s: %w", t.Path, err)
	} else if err != nil {
		return t.damage(0, err)
	}
	t.l = t.layout()
	if want := int64(t.l.end) * PageSize; fi.Size() != want {
		return t.damage(0, fmt.Errorf("%w: the file has %d bytes, want %d for %d rows", segment.ErrDamaged, fi.Size(), want, t.Rows))
	}
	if t.Store != store {
		return fmt.Errorf("%s: %w: it belongs to store %s, want %s", t.Path, ErrStale, t.Store, store)
	}
	pages := make([]byte, (t.l.filter-t.l.fences)*PageSize)
	if err := t.readPages(pages, t.l.fences); err != nil {
		return err
	}
	t.fences = make([]uint64, t.l.fences-t.l.rows)
	for i := range t.fences {
		t.fences[i] = binary.BigEndian.Uint64(pages[i/fencesPage*PageSize+i%fencesPage*fenceSize:])
	}
	if !slices.IsSorted(t.fences) {
		return t.damage(t.l.fences, fmt.Errorf("%w: the first prefixes of the pages are not in ascending order", segment.ErrDamaged))
	}
	return nil
}

// keepFilter reads the filter into memory, if the budget allows.
func (t *Table) keepFilter() error {
	size := int64(t.l.end-t.l.filter) * PageSize
	if t.filter.Load() != nil || !t.budget.take(size) {
		return nil
	}
	pages := newMemory(int(size))
	if err := t.readPages(pages.bytes, t.l.filter); err != nil {
		t.budget.give(size)
		return err
	}
	t.filter.Store(pages)
	return nil
}

// forgetFilter releases the memory of the filter.
func (t *Table) forgetFilter() {
	if pages := t.filter.Swap(nil); pages != nil {
		t.budget.give(int64(len(pages.bytes)))
	}
}

// Close closes the file. No call of Find may be under way.
func (t *Table) Close() error {
	t.forgetFilter()
	return t.f.Close()
}

// Find calls fn with the index of each entry whose hash may be hash, in ascending order,
// until fn returns stop or an error, which Find returns. An error that wraps
// segment.ErrDamaged says that an entry with that hash may or may not be in the table.
func (t *Table) Find(hash segment.Hash, fn func(index uint64) (stop bool, err error)) error {
	_, err := t.find(Prefix(hash), fn)
	return err
}

// pagePool has pages to read into. They cannot be on the stack, because they are passed to
// a file.
var pagePool = sync.Pool{New: func() any { return new([PageSize]byte) }}

func (t *Table) find(prefix uint64, fn func(index uint64) (bool, error)) (stop bool, err error) {
	if may, err := t.mayHold(prefix); !may || err != nil {
		return false, err
	}
	page := pagePool.Get().(*[PageSize]byte)
	defer pagePool.Put(page)
	// The rows of a prefix may begin in the page before the first that begins with it.
	p := uint64(sort.Search(len(t.fences), func(i int) bool { return t.fences[i] >= prefix }))
	if p > 0 {
		p--
	}
	for ; p < uint64(len(t.fences)) && t.fences[p] <= prefix; p++ {
		if err := t.readPages(page[:], t.l.rows+p); err != nil {
			return false, err
		}
		n := int(min(rowsPage, t.Rows-p*rowsPage))
		i := sort.Search(n, func(i int) bool { return parseRow(page[i*RowSize:]).Prefix >= prefix })
		for ; i < n; i++ {
			r := parseRow(page[i*RowSize:])
			switch {
			case r.Prefix != prefix:
				return false, nil
			case uint64(r.Delta) >= t.Span():
				return false, t.damage(t.l.rows+p, t.beyond(r))
			}
			if stop, err := fn(t.First + uint64(r.Delta)); stop || err != nil {
				return true, err
			}
		}
	}
	return false, nil
}

// mayHold reports whether the filter has prefix, from memory or the file.
func (t *Table) mayHold(prefix uint64) (bool, error) {
	if t.Rows == 0 {
		return false, nil
	}
	block := blockOf(prefix, t.l.blocks)
	p, at := block/blocksPage, block%blocksPage*blockSize
	if pages := t.filter.Load(); pages != nil {
		has := hasBits(pages.bytes[p*PageSize+at:][:blockSize], prefix)
		runtime.KeepAlive(pages)
		return has, nil
	}
	page := pagePool.Get().(*[PageSize]byte)
	defer pagePool.Put(page)
	if err := t.readPages(page[:], t.l.filter+p); err != nil {
		return false, err
	}
	return hasBits(page[at:][:blockSize], prefix), nil
}

// readPages reads and checks as many pages as b has room for, from number first on.
func (t *Table) readPages(b []byte, first uint64) error {
	if err := t.readAt(b, first); err != nil {
		return err
	}
	for n := first; len(b) > 0; n, b = n+1, b[PageSize:] {
		if err := checkPage(b[:PageSize], t.sum, n); err != nil {
			return t.damage(n, err)
		}
	}
	return nil
}

// readAt fills b from page number first on. An unreadable page is damage: tables are made
// again, not repaired.
func (t *Table) readAt(b []byte, first uint64) error {
	n, err := t.f.ReadAt(b, int64(first)*PageSize)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: the file ends after %d of %d bytes", segment.ErrDamaged, n, len(b))
	}
	return t.damage(first, err)
}

// beyond returns the error that the table has a row of an index that it does not cover.
func (t *Table) beyond(r Row) error {
	return fmt.Errorf("%w: row of index %d in a table of indices %d to %d", segment.ErrDamaged, t.First+uint64(r.Delta), t.First, t.Last)
}

// damage returns err as damage to page number n.
func (t *Table) damage(n uint64, err error) error {
	return &segment.DamageError{Path: t.Path, Offset: int64(n) * PageSize, First: t.First, Last: t.Last, Err: err}
}
