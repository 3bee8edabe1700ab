package page

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestAppend: the page appends an entry, and marks the byte at which an entry is refused.
func TestAppend(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 5)...)
	p := open(t, s, "/")
	p.sees(5)
	p.expects("422")
	p.reveal("#append textarea")
	p.enter("#append textarea", `{"user":"äöü","amount":05}`)
	p.key(kb.Enter, chromedp.ModifierCtrl)
	p.await("the refusal", `$("#append mark")?.textContent === "5"`)
	p.picture("append-refused")
	if s.head() != 5 {
		t.Error("it was stored")
	}
	p.enter("#append textarea", `{"user":"äöü","amount":5}`)
	p.key(kb.Enter, chromedp.ModifierCtrl)
	p.await("the reply", `/stored/.test($("#append").innerText) && /\b6\b/.test($("#append").innerText)`)
	p.await("the entry in the list", `$('#list [data-index="6"]')?.textContent.includes("äöü")`)
	p.picture("append")
}

// reveal opens the container of an element if it is closed: details, a dialog or a panel with a button.
func (p *tab) reveal(selector string) {
	p.t.Helper()
	eval[bool](p, `(e => { for (; e; e = e.parentElement) {
		if (e.localName === "details") e.open = true;
		const opener = e.id && $('[aria-controls="' + e.id + '"]');
		if (opener && !`+shown+`(e)) opener.click();
	} return true })($(%s))`, selector)
	p.visible(selector)
}
