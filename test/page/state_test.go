package page

import (
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestState: the page shows the state of the server, and a banner across the top if appends are refused.
func TestState(t *testing.T) {
	data := dir(t) + "/data"
	s := start(t, "DATA="+data)
	s.append(numbered(1, 1234)...)
	p := open(t, s, "/")
	p.sees(1234)
	p.click(`#panels [aria-controls="status"]`)
	for _, want := range []string{"1,234", "packed", "free", "up "} {
		p.await(want, `$("#status").innerText.includes(%s)`, want)
	}
	s.append(numbered(1235, 500)...)
	p.await("a rate", `/[1-9]/.test($("#status .chart .number").textContent)`)
	p.picture("status")

	// A log whose files are gone takes no more entries.
	p.expects("500.*histogram")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	p.await("the refusal", `/refused/i.test($("#banner").innerText)`)
	p.visible("#banner")
	p.fits()
	p.picture("refused")
	p.expects("503")
	p.reveal("#append textarea")
	p.enter("#append textarea", `{}`)
	p.click("#append button")
	p.await("the reply", `$("#append .bad")?.innerText.includes("not stored")`)
	if text := p.text("#append"); strings.Contains(text, "unknown") {
		t.Errorf("the page says %q", text)
	}
}

// TestFilterByValue: a click on a value of an opened entry filters by it.
func TestFilterByValue(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 200)...)
	p := open(t, s, "/#/150")
	p.await("the entry", verified("yes"))
	eval[bool](p, `($$("#entry .tree .value").find(e => e.textContent === '"bob"' || e.textContent === '"ann"' || e.textContent === '"eve"').id = "user", true)`)
	user := strings.Trim(p.text("#user"), `"`)
	p.click("#user")
	p.await("the filter", `$("#filter").value === %s`, `user = "`+user+`"`)
	p.await("matches", matching, user)
	p.fill("#filter", `user = "`+user+`" order.id = o-150`)
	p.await("only it", "("+seen+")().join() === '150'")
	p.picture("filter-value")
	p.do(chromedp.Reload())
	p.await("only it after reloading", "("+seen+")().join() === '150'")
}
