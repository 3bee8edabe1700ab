package segment

import (
	"strings"
	"testing"
)

// TestPrepare: zeros are written once little of them is left, more of them for small
// batches, up to the segment's end and to the end of a page, and begin their way to the
// disk.
func TestPrepare(t *testing.T) {
	t.Parallel()
	const page = fillTo
	for _, c := range []struct {
		name  string
		batch int   // bytes of the batch before
		left  int64 // of what was filled, behind it
		limit int64 // behind it
		want  int64 // of what is filled, behind it, less than a page more or less
	}{
		{"enough is left", 200, fillAhead, noLimit, fillAhead},
		{"little is left for a small batch", 200, fillAhead - 1, noLimit, fillAhead - 1 + fillLong},
		{"nothing is left for a small batch", 200, 0, noLimit, fillLong},
		{"little is left for a larger one", fillShortFrom, fillAhead - 1, noLimit, fillAhead + fillShort},
		{"nothing is left for a larger one", fillBelow - 1, 0, noLimit, fillAhead + fillShort},
		{"nothing is left for a large one", fillBelow, 0, noLimit, 0},
		{"the segment ends soon", 200, 0, 10 * page, 10 * page},
		{"it ends here", 200, 0, 0, 0},
		{"it ends within what is filled", 200, page, page / 2, page},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, f := newFaulty(t)
			entry := `["` + strings.Repeat("x", c.batch-BatchHeaderSize-len(`[""]`)-1) + `"]`
			mustCommit(t, w, entry)
			if w.batch != c.batch {
				t.Fatalf("the batch has %d bytes, want %d", w.batch, c.batch)
			}
			before := w.End() + c.left
			if err := f.Truncate(before); err != nil { // that far it is zeros, or is cut
				t.Fatal(err)
			}
			w.filled = before
			limit := int64(noLimit)
			if c.limit != noLimit {
				limit = w.End() + c.limit
			}
			w.Prepare(limit)
			if got := w.filled - w.End(); got > c.want || got < c.want-page && got != c.left {
				t.Errorf("%d bytes are filled behind the batch, want %d", got, c.want)
			}
			if (w.filled > before) != (c.want > c.left) {
				t.Errorf("filled to %d from %d", w.filled, before)
			}
			b := readFile(t, w.Path)
			if int64(len(b)) != w.filled || !allZero(b[w.End():]) {
				t.Errorf("the file has %d bytes, want zeros to %d", len(b), w.filled)
			}
			if w.filled == before {
				if f.begun != 0 {
					t.Error("writing has begun, of nothing")
				}
				return
			}
			if w.filled%page != 0 || f.begun != w.filled {
				t.Errorf("filled to %d, want the end of a page; writing has begun up to %d", w.filled, f.begun)
			}
		})
	}
}

// TestPrepareAfterFailure: on a disk without room zeros would take what little there is.
func TestPrepareAfterFailure(t *testing.T) {
	t.Parallel()
	w, f := newFaulty(t)
	f.write = 10
	b, n := frame(`{"refused":1}`)
	if err := w.Commit(b, n, testTime); err == nil {
		t.Fatal("the write did not fail")
	}
	f.write = -1
	if w.Prepare(noLimit); w.filled != w.End() || f.begun != 0 {
		t.Errorf("filled to %d after a refused batch, want %d", w.filled, w.End())
	}
	mustCommit(t, w, `{"stored":1}`)
	if w.Prepare(noLimit); w.filled == w.End() {
		t.Error("nothing is filled after the next that was stored")
	}
	mustCommit(t, w, `{"stored":2}`)
	f.sync = errDisk
	if err := w.Commit(b, n, testTime); err == nil {
		t.Fatal("the sync did not fail")
	}
	filled := w.filled
	w.filled = w.End()
	if w.Prepare(noLimit); w.filled != w.End() {
		t.Errorf("filled from %d to %d after a failed sync, of which nothing is known", filled, w.filled)
	}
}
