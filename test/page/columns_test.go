package page

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// TestColumns: members are shown as columns, and the shown entries are downloaded as NDJSON and CSV.
func TestColumns(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 40)...)
	s.append(`{"order":{"id":"=1+1"},"user":"a \"quoted\", text"}`)
	p := open(t, s, "/")
	p.sees(41)
	p.reveal("#columns input")
	for _, path := range []string{"user", "order.total"} {
		p.fill("#columns input", path)
	}
	p.await("the headers", `["user", "order.total"].every(name => document.body.innerText.toLowerCase().includes(name))`)
	p.await("cells", `/40/.test($('#list [data-index="40"]').innerText) && /bob/.test($('#list [data-index="40"]').innerText) && !/o-40/.test($('#list [data-index="40"]').innerText)`)
	if by := eval[float64](p, `(left => left("#names .cell:last-child") - left('#list [data-index="40"] .cell:last-child'))(what => $(what).getBoundingClientRect().left)`); by > 1 || by < -1 {
		t.Errorf("the name of a column is %v px to the right of the column", by)
	}
	p.picture("columns")

	downloads := dir(t)
	events := true
	if _, err := chromedp.CallBrowser(p.ctx, pbrowser.SetDownloadBehavior, pbrowser.SetDownloadBehaviorParams{
		Behavior: pbrowser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID, DownloadPath: downloads, EventsEnabled: &events,
	}); err != nil {
		t.Fatal(err)
	}
	text := p.download(downloads, "csv")
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if len(records) != 42 {
		t.Fatalf("the file has %d records, want 42:\n%s", len(records), text)
	}
	column := func(name string) int {
		for i, h := range records[0] {
			if h == name {
				return i
			}
		}
		t.Fatalf("there is no column %s in %v", name, records[0])
		return 0
	}
	for n := 1; n <= 40; n++ {
		r := records[n]
		if r[column("index")] != fmt.Sprint(n) || r[column("order.total")] != fmt.Sprintf("%d.5", n*3%101) {
			t.Errorf("record %d is %v", n, r)
		}
	}
	if got := records[41][column("user")]; got != `a "quoted", text` {
		t.Errorf("the user is %q", got)
	}

	text = p.download(downloads, "ndjson")
	if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) != 41 || !strings.Contains(lines[6], `"id":"o-7"`) {
		t.Errorf("the file has %d lines:\n%s", len(lines), text)
	}
}

// download makes the page save a file in a format and returns its content.
func (p *tab) download(downloads, format string) (text string) {
	p.t.Helper()
	p.reveal("#download button, button#download")
	eval[bool](p, `(b => (b.click(), true))($$("#download button, button#download, #download a").find(e => e.textContent.toLowerCase().includes(%s)))`, format)
	await(p.t, "the download of "+format, func() bool {
		files, _ := filepath.Glob(downloads + "/*." + format)
		if len(files) == 0 {
			return false
		}
		b, err := os.ReadFile(files[0])
		text = string(b)
		return err == nil && strings.HasSuffix(text, "\n")
	})
	return text
}
