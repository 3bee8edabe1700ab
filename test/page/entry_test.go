package page

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
)

// TestVerified: the browser itself computes the hash of an opened entry, and says so.
func TestVerified(t *testing.T) {
	s := start(t)
	s.append(append(numbered(1, 20), `{"deep":{"list":[1,2.50,1e400,{"a":null}],"text":"ä€😀"},"big":9007199254740993}`)...)
	p := open(t, s, "/#/21")
	p.await("the entry to be verified", verified("yes"))
	for _, want := range []string{"9007199254740993", "1e+400", "ä€😀"} {
		if !strings.Contains(p.text("#entry"), want) {
			t.Errorf("the entry does not show %s: %s", want, p.text("#entry"))
		}
	}
	if !eval[bool](p, `/[0-9a-f]{64}/.test($("#entry").textContent.replace(/\s/g, ""))`) {
		t.Error("the entry's hash is not shown")
	}
	p.await("the mark of the entry at the bar of its batch", `(x => Math.abs(x("#histogram .mark", "left") - x("#histogram .bars", "right")) < 3)((of, side) => $(of).getBoundingClientRect()[side])`)
	p.picture("entry")
	p.click(`#list [data-index="3"]`)
	p.await("the next entry", verified("yes")+` && /o-3\b/.test($("#entry").innerText)`)
	p.await("its address", `location.hash === "#/3"`)
}

// TestTampered: an entry whose bytes do not match its hash is shown as wrong.
func TestTampered(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 20)...)
	p := open(t, s, "/")
	p.sees(20)
	p.tamper("/entries*", `"amount":7`, `"amount":8`)
	p.fill("#goto", "7")
	p.do(chromedp.Navigate(s.url + "/#/7"))
	p.await("the entry to be found wrong", verified("no"))
	if colour := eval[string](p, `getComputedStyle($('[data-verified="no"]')).color + getComputedStyle($('[data-verified="no"]')).backgroundColor`); colour == "" {
		t.Error(colour)
	}
	p.picture("tampered")
}

// tamper replaces text in the server's answers to requests for a path.
func (p *tab) tamper(path, old, with string) {
	p.t.Helper()
	must := func(err error) {
		if err != nil && p.ctx.Err() == nil {
			p.t.Error(err)
		}
	}
	paused := chromedp.Events(p.ctx, fetch.RequestPaused)
	go func() {
		for e, err := range paused {
			if err != nil {
				return
			}
			if strings.Contains(e.Request.URL, "follow") || e.ResponseStatusCode != 200 {
				_, err := chromedp.Call(p.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
				must(err)
				continue
			}
			r, err := chromedp.Call(p.ctx, fetch.GetResponseBody, fetch.GetResponseBodyParams{RequestID: e.RequestID})
			must(err)
			_, err = chromedp.Call(p.ctx, fetch.FulfillRequest, fetch.FulfillRequestParams{
				RequestID: e.RequestID, ResponseCode: e.ResponseStatusCode, ResponseHeaders: e.ResponseHeaders,
				Body: bytes.ReplaceAll(r.Body, []byte(old), []byte(with)),
			})
			must(err)
		}
	}()
	call(p, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*" + path, RequestStage: fetch.RequestStageResponse}}})
	p.t.Cleanup(func() { chromedp.Call(p.ctx, fetch.Disable, cdp.Empty{}) })
}

// TestDamaged: a damaged entry is shown as damaged, in the list and when opened, and its neighbours as usual.
func TestDamaged(t *testing.T) {
	s := start(t)
	for _, e := range numbered(1, 30) { // each in its own batch
		s.append(e)
	}
	damage(t, s, `"id":"o-12"`)
	p := open(t, s, "/")
	p.expects("410")
	p.sees(12)
	p.await("the entry to be shown as damaged", `/damaged/i.test($('#list [data-index="12"]').innerText)`)
	for _, index := range []int{11, 13} {
		if !eval[bool](p, `$('#list [data-index="%d"]').textContent.includes("o-%d")`, index, index) {
			t.Errorf("entry %d is not shown", index)
		}
	}
	p.click(`#list [data-index="12"]`)
	p.await("the opened entry to be shown as damaged", `/damaged/i.test($("#entry").innerText)`)
	if eval[bool](p, "%v", code(verified("yes"))) {
		t.Error("the damaged entry is verified")
	}
	p.picture("damaged")
}

// damage changes a byte of a text in place, in the segments of a server.
func damage(t *testing.T, s *server, text string) {
	t.Helper()
	var data string
	for _, setting := range s.env {
		if after, ok := strings.CutPrefix(setting, "DATA="); ok {
			data = after
		}
	}
	files, err := filepath.Glob(data + "/segments/*.seg")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte(text)); i >= 0 {
			at := i + len(text) - 2
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at))
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			return
		}
	}
	t.Fatalf("there is no %s in %v", text, files)
}
