package segment

import (
	"strings"
	"testing"
)

// TestPrepare: zeros are written once little of them is left, more of them for small
// batches, in whole pages, up to the segment's end, and start being written to the disk.
func TestPrepare(t *testing.T) {
	t.Parallel()
	const page = fillTo
	for _, c := range []struct {
		name  string
		batch int   // bytes of the batch before
		left  int64 // of the filled space after it
		limit int64 // after it
		want  int64 // of the filled space after it, to within a page
	}{
		{"enough is left", 200, fillAhead, noLimit, fillAhead},
		{"little is left for a small batch", 200, fillAhead - 1, noLimit, fillAhead + fillLong},
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
			due := w.Due(limit)
			w.Prepare(limit)
			if due != (c.want > c.left) || due != (w.filled > before) {
				t.Errorf("due is %v, and it is filled from %d to %d", due, before, w.filled)
			}
			if got := w.filled - w.End(); got <= c.want-page || got >= c.want+page {
				t.Errorf("%d bytes are filled behind the batch, want %d", got, c.want)
			}
			b := readFile(t, w.Path)
			if int64(len(b)) != w.filled || !allZero(b[w.End():]) {
				t.Errorf("the file has %d bytes, want zeros from %d to %d", len(b), w.End(), w.filled)
			}
			if !due {
				if f.begun != [2]int64{} {
					t.Errorf("writing has begun at %d, of nothing", f.begun)
				}
				return
			}
			if w.filled > limit {
				t.Errorf("filled to %d, beyond %d", w.filled, limit)
			}
			from := before + page - 1
			from -= from % page
			if w.filled%page != 0 || f.begun != [2]int64{from, w.filled} {
				t.Errorf("filled to %d from %d, and writing has begun at %d: want whole pages", w.filled, before, f.begun)
			}
		})
	}
}
