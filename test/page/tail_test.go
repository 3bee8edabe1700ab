package page

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestTail: while 1,000 entries a second arrive, the page keeps up, and neither its rows nor its memory grow.
func TestTail(t *testing.T) {
	s := start(t)
	p := open(t, s, "/")
	p.await("the tail to be live", `$("#live").textContent.includes("live")`)

	const each, every, lasts = 20, 20 * time.Millisecond, 10 * time.Second
	c := s.client()
	var stored atomic.Uint64
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := range int(lasts / every) {
			<-tick.C
			var entries [][]byte
			for k := range each {
				entries = append(entries, fmt.Appendf(nil, `{"n":%d,"event":"tick","text":"%0200d"}`, n*each+k+1, n))
			}
			first, err := c.AppendAll(t.Context(), entries...)
			if err != nil {
				ended <- err
				return
			}
			stored.Store(first + each - 1)
		}
		ended <- nil
	}()

	last := `Math.max(0, ...$$("#list [data-index]").map(r => Number(r.dataset.index)))`
	var before float64
	var lags []time.Duration
	for done := false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
			head := stored.Load()
			lags = append(lags, p.await(fmt.Sprintf("entry %d to be shown", head), last+" >= %d", head))
			if rows := eval[int](p, `$$("#list [data-index]").length`); rows > 500 {
				t.Errorf("%d rows are in the list", rows)
			}
			if before == 0 && head > 2000 {
				before = p.heap()
			}
		}
	}
	p.await("the last row to be the head", last+" === %d", stored.Load())
	after := p.heap()
	p.picture("tail")
	slices.Sort(lags)
	t.Logf("behind by %v in the middle of %d looks and by %v at most; the heap went from %.1f to %.1f MB", lags[len(lags)/2], len(lags), lags[len(lags)-1], before, after)
	if lags[len(lags)-1] > 2*time.Second {
		t.Errorf("the page was behind by %v", lags[len(lags)-1])
	}
	if after > before+20 {
		t.Errorf("the heap grew from %.1f to %.1f MB", before, after)
	}
	if got := p.indices(); !follows(got) || got[len(got)-1] != stored.Load() {
		t.Errorf("the list shows %v, want the last ones up to %d", got, stored.Load())
	}
}

// follows reports whether indices follow each other without gaps.
func follows(indices []uint64) bool {
	for i := 1; i < len(indices); i++ {
		if indices[i] != indices[i-1]+1 {
			return false
		}
	}
	return len(indices) > 0
}

// TestPause: while the tail is paused the list stays unchanged, and shows the number of new entries.
func TestPause(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 100)...)
	p := open(t, s, "/")
	p.sees(100)
	p.click("#pause")
	p.await("the tail to be paused", `$("#live").textContent.includes("paused")`)
	before := p.indices()
	s.append(numbered(101, 25)...)
	p.await("25 to be new", `/\b25 new/.test($("#new").textContent)`)
	p.picture("pause")
	if after := p.indices(); !slices.Equal(before, after) {
		t.Errorf("the paused list has moved from %v to %v", before, after)
	}
	p.click("#new")
	p.sees(125)
	p.await("the tail to be live", `$("#live").textContent.includes("live")`)
	p.hidden("#new")
	s.append(numbered(126, 1)...)
	p.sees(126)
}

// TestEmptyLog: a log without entries says so; an invalid filter can be corrected; and entries
// appended after that show.
func TestEmptyLog(t *testing.T) {
	s := start(t)
	p := open(t, s, "/")
	p.await("an empty histogram", `$("#histogram .says").textContent === "no entries yet"`)
	p.picture("empty")
	p.fill("#filter", "user")
	p.await("the refusal", `$("#filter").getAttribute("aria-invalid") === "true"`)
	p.fill("#filter", "user = bob")
	p.await("the filter", `$("#filter").getAttribute("aria-invalid") === "false" && location.hash.includes("bob")`)
	p.fill("#filter", "")
	s.append(numbered(1, 3)...)
	p.sees(3)
	p.await("a bar", `($("#histogram .bars")?.getAttribute("d") ?? "") !== ""`)
}

// numbered returns count entries, numbered from n.
func numbered(n, count int) (entries []string) {
	users := []string{"ann", "bob", "eve"}
	for i := n; i < n+count; i++ {
		entries = append(entries, fmt.Sprintf(`{"amount":%d,"order":{"id":"o-%d","total":%d.5},"user":%q}`, i%17, i, i*3%101, users[i%3]))
	}
	return entries
}
