package page

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestLarge: the page with a log of 5,000,000 entries.
func TestLarge(t *testing.T) {
	began := time.Now()
	const head = 5_000_000
	s := start(t, "DATA="+large(t, head/1_000_000))
	if got := s.head(); got != head {
		t.Fatalf("the head is %d", got)
	}
	t.Logf("the log took %v", time.Since(began))

	t.Run("Scroll", func(t *testing.T) { testScroll(t, s, head) })
	t.Run("GoTo", func(t *testing.T) { testGoTo(t, s, head) })
	t.Run("Filter", func(t *testing.T) { testFilter(t, s, head) })
	t.Run("Histogram", func(t *testing.T) { testHistogram(t, s, head) })
	t.Run("Permalink", func(t *testing.T) { testPermalink(t, s) })
}

// testScroll drags the list's scrollbar to ten places.
func testScroll(t *testing.T, s *server, head int) {
	p := open(t, s, "/")
	p.sees(uint64(head))
	var took []time.Duration
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10 {
		part := random.Float64()
		began := time.Now()
		eval[bool](p, `(e => (e.scrollTop = %f * (e.scrollHeight - e.clientHeight), true))(`+scroller+`)`, part)
		want := part * float64(head)
		p.awaitFor(5*time.Second, "the entries around "+fmt.Sprint(int(want)), filled+" && Math.abs(("+seen+")()[0] - %f) < %f", want, float64(head)/100)
		took = append(took, time.Since(began))
		if got := p.indices(); !follows(got) {
			t.Errorf("place %d shows %v", i, got)
		}
		if i == 4 {
			p.picture("large")
		}
	}
	heap := p.heap()
	slices.Sort(took)
	t.Logf("ten places were shown within %v; the heap is %.1f MB", took, heap)
	if took[8] > time.Second || took[9] > 3*time.Second { // other work of the machine may delay one
		t.Errorf("the places took %v", took)
	}
	if heap > 150 {
		t.Errorf("the heap is %.1f MB", heap)
	}
	eval[bool](p, `(e => (e.scrollTop = 0, true))(`+scroller+`)`)
	p.sees(1)
	eval[bool](p, `(e => (e.scrollTop = e.scrollHeight, true))(`+scroller+`)`)
	p.sees(uint64(head))
}

// scroller is the element that scrolls the list; filled tells whether all its rows have their entries.
const (
	scroller = `[$("#list"), ...$$("#list *")].find(e => e.scrollHeight > e.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(e).overflowY))`
	filled   = `$$("#list [data-index]").length > 10 && $$("#list [data-index]").every(r => r.textContent.length > 20)`
)

func testGoTo(t *testing.T, s *server, head int) {
	p := open(t, s, "/")
	p.sees(uint64(head))
	p.fill("#goto", "1234567")
	p.sees(1234567)
	p.await("the list to have the entry's text", `$('#list [data-index="1234567"]').textContent.includes("/items/%d\"")`, 1234567%977)
	p.picture("goto-index")

	at := storedAt(p, 2_500_001)
	p.fill("#goto", at)
	p.sees(2_500_001)
	p.picture("goto-time")
	p.fill("#goto", "nonsense")
	p.await("the refusal", `/nonsense/.test(document.body.innerText)`)
	p.sees(2_500_001)
}

// storedAt returns the time at which an entry was stored, as the server reports it.
func storedAt(p *tab, index int) string {
	p.t.Helper()
	return eval[string](p, `fetch("/entries?from=%d&read=1&time").then(r => r.text()).then(t => JSON.parse(t.split("\n")[0]).time)`, index)
}

func testFilter(t *testing.T, s *server, head int) {
	p := open(t, s, "/")
	p.sees(uint64(head))
	p.fill("#filter", `user = "user7"`)
	p.visible("#progress")
	p.await("matches to be shown", matching, `"user7"`)
	p.picture("filter")

	// While the server is stopped, a search stays in progress and can be stopped.
	s.cmd.Process.Signal(syscall.SIGSTOP)
	p.fill("#filter", `user = "nobody"`)
	p.visible("#progress")
	p.click("#stop")
	p.hidden("#stop")
	if text := p.text("#empty"); text != "Nothing matches so far." {
		t.Errorf("a search that was stopped says %q", text)
	}
	p.picture("filter-stopped")
	s.cmd.Process.Signal(syscall.SIGCONT)

	// A filter that first matches late searches the whole log.
	p.fill("#filter", `n = 4999999`)
	p.sees(4_999_999)
	p.await("only it", "("+seen+")().length === 1")
	p.await("the search to have seen all", `$("#progress").innerText.includes("5,000,000")`)
	p.picture("filter-one")

	// The context of the match shows its neighbours.
	p.click(`#list [data-index="4999999"]`)
	p.await("the entry", verified("yes"))
	p.click(`#entry [aria-label="Show in context"]`)
	p.sees(4_999_998)
	p.hidden("#progress")
	p.picture("filter-context")

	p.fill("#filter", `user = `)
	p.await("the refusal", `$("#filter").validationMessage || $("#filter").getAttribute("aria-invalid") === "true"`)
	p.picture("filter-refused")
}

// matching tells whether there are rows, and all of them contain a text.
const matching = `$$("#list [data-index]").length > 3 && $$("#list [data-index]").every(r => r.textContent.includes(%s))`

func testHistogram(t *testing.T, s *server, head int) {
	p := open(t, s, "/")
	p.sees(uint64(head))
	p.await("the bars", `($("#histogram .bars")?.getAttribute("d") ?? "").length > 100`)
	b := p.box("#histogram .plot")
	p.drag(b.X+b.Width/4, b.Y+b.Height/2, b.X+b.Width/2, b.Y+b.Height/2)
	p.await("the selection", `/selected/.test($("#histogram").innerText)`)
	p.await("its first entry", filled+" && Math.abs(("+seen+")()[0] - %d) < %d", head/4, head/50)
	p.picture("histogram")
	if got := p.indices(); !follows(got) {
		t.Errorf("the list shows %v", got)
	}
}

func testPermalink(t *testing.T, s *server) {
	p := open(t, s, "/#/3456789")
	p.sees(3_456_789)
	p.await("the entry", verified("yes"))
	p.picture("permalink")
	before := p.indices()
	p.do(chromedp.Reload())
	p.sees(3_456_789)
	p.await("the entry", verified("yes"))
	p.await("the same rows", "JSON.stringify(("+seen+")()) === %s", strings.ReplaceAll(fmt.Sprint(before), " ", ","))
	if after := p.indices(); !slices.Equal(before, after) {
		t.Errorf("it shows %v, after reloading %v", before, after)
	}
	p.fill("#goto", "77")
	p.sees(77)
	p.do(chromedp.NavigateBack())
	p.sees(3_456_789)
}

// verified tells the result of the opened entry's check.
func verified(answer string) string {
	return `$("#entry")?.dataset.verified === "` + answer + `"`
}
