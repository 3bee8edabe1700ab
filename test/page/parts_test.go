package page

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// part opens a document with the page's style and only one part of the page, which a module makes in the
// element #part. The code is a function of the module and the element. told collects its notifications.
func part(t *testing.T, module string, made code) *tab {
	t.Helper()
	p := open(t, start(t), "/parts.css") // any document of the server except the page
	p.expects("favicon")
	eval[bool](p, `import(%s).then(module => {
		document.head.innerHTML = "<link rel=stylesheet href=/style.css><link rel=stylesheet href=/parts.css>";
		document.body.innerHTML = "<section id=part></section>";
		const element = $("#part");
		globalThis.told = [];
		(%s)(module, element);
		return true;
	})`, "/"+module, made)
	return p
}

// told returns the part's notifications since the last call.
func (p *tab) told() string {
	p.t.Helper()
	return eval[string](p, `JSON.stringify(told.splice(0))`)
}

// focused returns the label of the element with the focus.
func (p *tab) focused() string {
	p.t.Helper()
	return eval[string](p, `document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent`)
}

// TestTree: any entry can be folded, walked through and chosen from by keys and by mouse.
func TestTree(t *testing.T) {
	p := part(t, "json.js", `({tree}, element) => element.append(tree(
		'{"amount":12345678901234567890.00,"big":"' + "x".repeat(1 << 20) + '","html":"<img src=x onerror=told.push(1)>","list":[' +
		Array.from({length: 3000}, (_, i) => i) + '],"order":{"id":"a\u202eb"}}', {onValue: (...all) => told.push(all)}))`)
	step := func(keys, want string) {
		t.Helper()
		p.key(keys)
		if got := p.focused(); got != want {
			t.Errorf("after %q the focus is on %q, want %q", keys, got, want)
		}
	}
	p.key(kb.Tab)
	step(kb.ArrowDown, "amount: 12345678901234567890.00")
	p.key(kb.Enter)
	if told := p.told(); told != `[[["amount"],"12345678901234567890.00"]]` {
		t.Errorf("Enter on a value tells of %s", told)
	}
	step(kb.End, `id: "a\u202eb"`)
	step(kb.ArrowLeft, "order: 1 member")
	step(kb.ArrowLeft, "order: 1 member") // folded
	step(kb.ArrowUp, "list: 3,000 items")
	step(kb.ArrowDown, "order: 1 member")
	step(kb.ArrowUp, "list: 3,000 items")
	step(kb.ArrowRight, "list: 3,000 items") // unfolded
	step(kb.ArrowRight, "0: 0")
	step(kb.Home, "5 members")

	const more = `$$("#part span.more").at(-1)`
	if n := eval[int](p, `$$("#part .number").length`); n != 101 {
		t.Errorf("at first %d numbers are shown, want 101", n)
	}
	for range 20 {
		if eval[bool](p, "!"+more) {
			break
		}
		eval[bool](p, "("+more+".click(), true)")
	}
	if n := eval[int](p, `$$("#part .number").length`); n != 3001 {
		t.Errorf("%d numbers are shown at last, want 3001", n)
	}
	const big = `$$("#part .value").find(e => e.textContent.startsWith('"xx')).textContent.length`
	if n := eval[int](p, big); n != 1000 {
		t.Errorf("%d characters of a long string are shown, want 1000", n)
	}
	p.click("#part button.more")
	if n := eval[int](p, big); n != 1<<20+2 {
		t.Errorf("all %d characters of a long string are shown, want %d", n, 1<<20+2)
	}
	eval[bool](p, `($("#part .string:last-child").scrollIntoView(), true)`)
	eval[bool](p, `import("/json.js").then(({tree}) => ($("#part").append(tree(JSON.stringify({["n".repeat(1 << 20)]: 1}))), true))`)
	if n := eval[int](p, `$$("#part .name").at(-1).textContent.length`); n != 1000 {
		t.Errorf("%d characters of a long name are shown, want 1000", n)
	}
	if eval[int](p, `$$("#part img").length`) != 0 || p.told() != "[]" {
		t.Error("a string has become an element, or something was chosen without a click on it")
	}
	p.click(`#part [aria-label^="amount"] .value`)
	if told := p.told(); told != `[[["amount"],"12345678901234567890.00"]]` {
		t.Errorf("a click on a value tells of %s", told)
	}
	if unseen := eval[[]string](p, `$$("#part .unseen").map(e => e.textContent)`); !slices.Equal(unseen, []string{`\u202e`}) {
		t.Errorf("what would not show is %q", unseen)
	}
}

// TestHistogram: a span of time is selected, zoomed into and left again, by keys and by mouse, with at
// most one request to the server every three seconds.
func TestHistogram(t *testing.T) {
	// Ten minutes with a hundred entries each second; the first is entry 7.
	p := part(t, "histogram.js", `({histogram}, element) => {
		element.style.width = "600px";
		const begin = Date.UTC(2026, 10, 28, 9), end = begin + 600_000;
		globalThis.asked = 0;
		globalThis.part = histogram(element, {
			async fetchCounts(since, until, buckets) {
				asked++;
				const [a, b] = since ? [Date.parse(since), Date.parse(until)] : [begin, end];
				return {since: new Date(a).toISOString(), until: new Date(b).toISOString(), head: 60_006, first: 7 + (a - begin) / 10,
					counts: Array(60).fill((b - a) / 600)};
			},
			onSelect: (...all) => told.push(all), onClear: () => told.push("clear"),
		});
	}`)
	says := func(want string) {
		t.Helper()
		p.await(want, `$("#part .says").textContent === %s`, want)
	}
	tells := func(want string) {
		t.Helper()
		if told := p.told(); told != want {
			t.Errorf("it tells of %s, want %s", told, want)
		}
	}
	whole := "2026-11-28 09:00:00 – 09:10:00  ·  60,000 entries"
	says(whole)
	p.key(kb.Tab)
	p.key(kb.ArrowLeft)
	says("2026-11-28 09:09:50 – 09:10:00  ·  1,000 entries")
	p.key(kb.Home)
	p.key(kb.ArrowRight)
	says("2026-11-28 09:00:10 – 09:00:20  ·  1,000 entries")
	p.key(kb.ArrowRight, chromedp.ModifierShift)
	p.key(kb.ArrowRight, chromedp.ModifierShift)
	says("2026-11-28 09:00:10 – 09:00:40  ·  3,000 entries selected")
	if text := eval[string](p, `$("#part .plot").ariaValueText`); text != "2026-11-28 09:00:10 – 09:00:40  ·  3,000 entries selected" {
		t.Errorf("a screen reader hears %q", text)
	}
	tells("[]")
	p.key(kb.Enter)
	span := `["2026-11-28T09:00:10.000000Z","2026-11-28T09:00:40.000000Z",1007]`
	tells("[" + span + "]")
	p.key(kb.Enter) // zooms in
	p.await("the span", `$("#part .plot").ariaLabel.startsWith("Entries over time: 2026-11-28 09:00:10.000 – 09:00:40.000  ·  3,000 entries;")`)
	p.key(kb.Escape)
	tells(`["clear"]`)
	p.key(kb.Escape) // zooms out
	says(whole)
	tells("[]")

	b := p.box("#part .plot")
	p.drag(b.X+105, b.Y+20, b.X+204, b.Y+20)
	says("2026-11-28 09:01:40 – 09:03:30  ·  11,000 entries selected")
	tells(`[["2026-11-28T09:01:40.000000Z","2026-11-28T09:03:30.000000Z",10007]]`)
	eval[bool](p, `(part.mark("2026-11-28T09:05:00.000000Z"), true)`)
	if x := eval[string](p, `$("#part .mark").getAttribute("d")`); x != "M300.5 0V56" {
		t.Errorf("the mark of half of the time is drawn by %s, want it at 300.5 of 600", x)
	}
	eval[bool](p, `($$("#part button").find(b => b.textContent === "clear").click(), true)`)
	tells(`["clear"]`)

	began := time.Now()
	before := eval[int](p, `(setInterval(part.refresh, 10), asked)`)
	p.await("two more questions", `asked >= %d`, before+2)
	if took := time.Since(began); took < 2900*time.Millisecond {
		t.Errorf("the server was asked twice within %v", took)
	}
}

// TestStatus: the state follows the server's answers, shows when there are none, and notifies once
// of refused appends.
func TestStatus(t *testing.T) {
	p := part(t, "status.js", `({status}, element) => {
		let n = 0;
		globalThis.failed = undefined;
		globalThis.down = false;
		globalThis.part = status(element, {
			async fetchStat() {
				if (down) throw new Error("connection refused");
				n++;
				return {store: "a", version: "v1.2.3 (go, linux)", uptime: 3725 + n, head: 51234567, unsettled: 0, loose: -1, packed: 49000000, bytes: 4e9,
					appends: {entries: 1000 * n, bytes: 50_000 * n}, sync: {batches: 10 * n, seconds: 0.02 * n}, connections: 2,
					readers: 3, behind: 1500, most_behind: 1200, failed};
			},
			onRefused: text => told.push(text),
		});
		part.start();
	}`)
	p.await("rates and facts", `["51,234,567", "3, up to 1,200 behind", "49,000,000 packed, 3.7 GiB", "v1.2.3, up 1 h 2 min", "2.0 ms"].every(text => $("#part").innerText.includes(text))`)
	if eval[bool](p, shown+`($("#part .meter"))`) {
		t.Error("the space of a disk is shown that nothing is known of")
	}
	if d := eval[string](p, `$("#part .curve").getAttribute("d")`); d == "" {
		t.Error("there is no curve")
	}
	for _, failed := range []string{`"the disk is full"`, "undefined"} {
		eval[bool](p, `(failed = %s, told.length = 0, true)`, code(failed))
		p.await("news of the refusal", `told.length > 0`)
		if failed == "undefined" {
			failed = "null"
		}
		if told := p.told(); told != fmt.Sprintf("[%s]", failed) {
			t.Errorf("with %s it tells of %s", failed, told)
		}
	}
	eval[bool](p, `(down = true)`)
	p.await("word that there is no answer", `$("#part .note").textContent === "no status: connection refused" && $("#part.stale")`)
	eval[bool](p, `(down = false, true)`)
	p.await("an answer", `$("#part .note").textContent === "" && !$("#part.stale")`)
	eval[bool](p, `(part.stop(), true)`)
}
