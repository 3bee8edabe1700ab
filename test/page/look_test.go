package page

import (
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestLooks checks the page in light and dark, wide and on a phone, with an opened entry. Nothing
// overflows, and text has enough contrast with its background.
func TestLooks(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 200)...)
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{
		{"light", "light", 1280, 800}, {"dark", "dark", 1280, 800},
		{"phone-light", "light", 390, 844}, {"phone-dark", "dark", 390, 844},
		{"narrow", "light", 320, 640}, {"wide", "light", 1920, 1080},
	} {
		t.Run(look.name, func(t *testing.T) {
			p := open(t, s, "/", func(p *tab) {
				p.size(look.width, look.height)
				p.scheme(look.scheme)
			})
			p.sees(200)
			p.fits()
			p.picture("look-" + look.name)
			background := eval[[]float64](p, `getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number).slice(0, 3)`)
			if dark := background[0]+background[1]+background[2] < 3*128; dark != (look.scheme == "dark") {
				t.Errorf("the background is %v", background)
			}
			p.click(`#list [data-index="198"]`)
			p.await("the entry", verified("yes"))
			p.fits()
			p.picture("look-" + look.name + "-entry")
		})
	}
}

// fits checks that nothing is wider than the window.
func (p *tab) fits() {
	p.t.Helper()
	if wide := eval[[]string](p, `document.documentElement.scrollWidth <= innerWidth ? [] : $$("body *").filter(e => e.getBoundingClientRect().right > innerWidth + 1)
		.map(e => e.localName + (e.id && "#" + e.id) + " " + Math.round(e.getBoundingClientRect().right)).slice(0, 5)`); len(wide) > 0 {
		p.t.Errorf("wider than the window: %v", wide)
	}
}

// TestKeyboard uses the page without a mouse.
func TestKeyboard(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 200)...)
	p := open(t, s, "/")
	p.sees(200)
	p.key("g")
	p.await("the focus on goto", `document.activeElement === $("#goto")`)
	p.key("100\r")
	p.sees(100)
	p.key(kb.Escape)
	p.key("j")
	p.key("j")
	p.key("k")
	p.key(kb.Enter)
	p.await("the next entry", verified("yes")+` && /o-101\b/.test($("#entry").innerText)`)
	p.picture("keyboard-entry")
	p.key(kb.Escape)
	p.hidden("#entry")
	p.key(kb.Home)
	p.sees(1)
	p.key("j") // from the visible rows
	p.key(kb.Enter)
	p.await("the first entry", verified("yes")+` && /o-1\b/.test($("#entry").innerText)`)
	p.key(kb.Escape)
	p.hidden("#entry")
	if eval[bool](p, `["Enter", "Escape"].forEach(key => $("#list").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}))) ??
		new Promise(later => addEventListener("message", () => later(!$("#entry").hidden), {once: true}, postMessage("")))`) {
		t.Error("Escape right after Enter leaves the entry open")
	}
	p.key("/")
	p.await("the focus on the filter", `document.activeElement === $("#filter")`)
	p.key("user = \"ann\"\r")
	p.await("matches", matching, "ann")
	p.key("/")
	p.await("the focus on the filter", `document.activeElement === $("#filter")`)
	p.key("a", chromedp.ModifierCtrl)
	p.key(kb.Delete)
	p.key(kb.Enter)
	p.key(kb.Escape)
	p.await("all entries again", `$$("#list [data-index]").some(r => r.textContent.includes("bob"))`)
	p.key(kb.End)
	p.sees(200)
	was := p.text("#live")
	p.key(" ")
	p.await("the state to change", `$("#live").innerText !== %s`, was)
	p.key("?")
	p.visible("#help")
	p.picture("keyboard-help")
	p.key(kb.Escape)
	p.hidden("#help")

	// Tab reaches every control, and each shows that it has the focus.
	var stops []string
	for range 60 {
		p.key(kb.Tab)
		stop := eval[string](p, `(e => e === document.body ? "" : $$("*").indexOf(e) + " " + e.localName + (e.id && "#" + e.id) + (e.className && "." + e.className) +
			(e.matches(":focus-visible") && (getComputedStyle(e).outlineStyle !== "none" || getComputedStyle(e).boxShadow !== "none") ? "" : " shows no focus"))(document.activeElement)`)
		if len(stops) > 0 && stop == stops[0] {
			break
		}
		if stop != "" { // between the last and the first
			stops = append(stops, stop)
		}
		if strings.HasSuffix(stop, "no focus") {
			t.Error(stop)
		}
	}
	t.Logf("Tab stops at %q", stops)
	if len(stops) < 6 {
		t.Errorf("Tab stops at %q only", stops)
	}
}

// TestAccessible: every control has a name, there are landmarks, and axe-core, if it is installed,
// finds nothing.
func TestAccessible(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 200)...)
	p := open(t, s, "/")
	p.sees(200)
	p.click(`#list [data-index="198"]`)
	p.await("the entry", verified("yes"))
	roles := make(map[string]int)
	for _, n := range call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		roles[role]++
		switch role {
		case "button", "textbox", "searchbox", "checkbox", "combobox", "link", "radio", "menuitem", "option", "tab", "slider", "dialog", "form", "region":
			if n.Name == nil || strings.Trim(string(n.Name.Value), `" `) == "" {
				t.Errorf("a %s has no name: node %d", role, n.BackendDOMNodeID)
			}
		}
	}
	t.Log(roles)
	for _, role := range []string{"main", "banner"} {
		if roles[role] == 0 {
			t.Errorf("there is no %s", role)
		}
	}

	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Skip("axe-core is not installed: npm ci")
	}
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.do(chromedp.Evaluate[chromedp.Void](string(axe)))
		for _, fault := range eval[[]string](p, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}).then(r => r.violations.flatMap(v =>
			v.nodes.slice(0, 3).map(n => v.id + ": " + n.html.slice(0, 160) + " " + n.failureSummary.split("\n").slice(1, 2))))`) {
			t.Errorf("%s: %s", scheme, fault)
		}
	}
}
