package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tab is a page of the server in its own session: it shares no cookies or storage.
type tab struct {
	t      testing.TB
	ctx    context.Context
	server *server

	mu       sync.Mutex
	console  []string         // errors that no pattern has matched yet
	expected []*regexp.Regexp // patterns of expected errors
}

// open opens the page at path, which follows the server's address. An error in the console, such as an
// exception, a violation of the Content-Security-Policy or a failed request, fails the test at its end.
func open(t testing.TB, s *server, path string, prepare ...func(*tab)) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	p := &tab{t: t, ctx: ctx, server: s}
	done := make(chan struct{})
	messages := chromedp.Console(ctx)
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Source == "security" || m.Source == "violation" {
				p.mu.Lock()
				p.console = append(p.console, fmt.Sprintf("%s (%s:%d)", m.Text, m.URL, m.Line+1))
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		p.check()
		if t.Failed() {
			p.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
		<-done
	})
	p.size(1280, 800)
	for _, f := range prepare {
		f(p)
	}
	p.do(chromedp.Navigate(s.url + path))
	return p
}

// expects allows errors in the console whose text or address matches pattern.
func (p *tab) expects(pattern string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, regexp.MustCompile(pattern))
}

// check fails the test for errors in the console.
func (p *tab) check() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.console {
		if !slices.ContainsFunc(p.expected, func(e *regexp.Regexp) bool { return e.MatchString(line) }) {
			p.t.Errorf("the console says: %s", line)
		}
	}
	p.console = nil
}

// bounded is the context of one action.
func (p *tab) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, patience)
}

// do runs actions.
func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// call runs a command of the DevTools protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// eval returns the value of a JavaScript expression, which may be a promise. $ and $$ find elements.
func eval[T any](p *tab, format string, args ...any) T {
	p.t.Helper()
	v, err := try[T](p, format, args...)
	if err != nil {
		p.t.Fatalf("%v in %s", err, fmt.Sprintf(format, args...))
	}
	return v
}

func try[T any](p *tab, format string, args ...any) (v T, err error) {
	for i, arg := range args { // strings are values, not code
		if s, ok := arg.(string); ok {
			args[i] = quote(s)
		}
	}
	expression := "(() => { const $ = s => document.querySelector(s), $$ = s => [...document.querySelectorAll(s)]; return (" + fmt.Sprintf(format, args...) + ") })()"
	ctx, cancel := p.bounded()
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// code is an argument of eval that is code.
type code string

// quote returns s as a JavaScript expression.
func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// await waits until the expression is true and returns how long that took.
func (p *tab) await(what, format string, args ...any) time.Duration {
	p.t.Helper()
	return p.awaitFor(patience, what, format, args...)
}

func (p *tab) awaitFor(limit time.Duration, what, format string, args ...any) time.Duration {
	p.t.Helper()
	began := time.Now()
	for {
		ok, err := try[bool](p, "!!("+format+")", slices.Clone(args)...)
		if ok {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			p.t.Fatalf("waited %v for %s; the page says %q, %v", limit, what, p.outline(), err)
		}
		time.Sleep(pause)
	}
}

// outline describes the page in the output of a failed test.
func (p *tab) outline() string {
	s, err := try[string](p, `"live: " + ($("#live")?.textContent ?? "none") + ", banner: " + ($("#banner")?.textContent ?? "none") + ", rows: " +
		$$("#list [data-index]").map(r => r.dataset.index).join(" ")`)
	if err != nil {
		return err.Error()
	}
	return s
}

// text returns the text of an element as it is shown, "" if there is none.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, `$(%s)?.innerText ?? ""`, selector)
}

// shown is a function that reports whether an element exists and is visible.
const shown = `(e => !!e && e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && e.getClientRects().length > 0)`

// visible waits until an element is visible.
func (p *tab) visible(selector string) {
	p.t.Helper()
	p.await(selector+" to be visible", shown+"($(%s))", selector)
}

// hidden waits until an element is gone or invisible.
func (p *tab) hidden(selector string) {
	p.t.Helper()
	p.await(selector+" to be hidden", "!"+shown+"($(%s))", selector)
}

// box is the position and size of an element.
type box struct{ X, Y, Width, Height float64 }

func (b box) center() (x, y float64) { return b.X + b.Width/2, b.Y + b.Height/2 }

func (p *tab) box(selector string) (b box) {
	p.t.Helper()
	p.visible(selector)
	return eval[box](p, `(r => ({X: r.x, Y: r.y, Width: r.width, Height: r.height}))($(%s).getBoundingClientRect())`, selector)
}

// click clicks on the middle of an element with the mouse.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.visible(selector)
	eval[bool](p, `($(%s).scrollIntoView({block: "nearest"}), true)`, selector)
	x, y := p.box(selector).center()
	p.do(chromedp.MouseClickXY(x, y))
}

// drag presses the mouse at (x1, y1) and releases it at (x2, y2).
func (p *tab) drag(x1, y1, x2, y2 float64) {
	p.t.Helper()
	p.do(chromedp.DragAndDropXY(x1, y1, x2, y2, 8))
}

// key presses keys, one after another; kb has those that are not characters.
func (p *tab) key(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	// For characters, send a raw key down, like a keyboard: if the page handles it, no character is typed.
	raw := func(e *input.DispatchKeyEventParams) {
		if e.Type == input.DispatchKeyEventTypeKeyDown && len(e.Key) == 1 {
			e.Type = input.DispatchKeyEventTypeRawKeyDown
		}
	}
	p.do(chromedp.KeyEvent(keys, raw, chromedp.KeyModifiers(modifiers...)))
}

// fill replaces the text of an input and presses Enter.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.enter(selector, text)
	p.key(kb.Enter)
}

// enter replaces the text of an input.
func (p *tab) enter(selector, text string) {
	p.t.Helper()
	p.visible(selector)
	eval[bool](p, `($(%s).focus(), $(%s).select(), true)`, selector, selector)
	if text == "" {
		p.key(kb.Delete)
		return
	}
	call(p, input.InsertText, input.InsertTextParams{Text: text})
}

// size sets the size of the window.
func (p *tab) size(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// scheme sets the page's colour scheme: light or dark.
func (p *tab) scheme(name string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// picture saves a screenshot of the page.
func (p *tab) picture(name string) {
	p.t.Helper()
	ctx, cancel := p.bounded()
	defer cancel()
	b, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(pictures, name+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Errorf("no picture %s: %v", name, err)
	}
}

// heap returns the memory of the page's objects in MB, after a collection.
func (p *tab) heap() float64 {
	p.t.Helper()
	call(p, heapprofiler.CollectGarbage, cdp.Empty{})
	u := call(p, runtime.GetHeapUsage, cdp.Empty{})
	return (u.UsedSize + u.EmbedderHeapUsedSize + u.BackingStorageSize) / 1e6
}

// indices returns the indices of the visible rows, in their order on the screen.
func (p *tab) indices() []uint64 {
	p.t.Helper()
	return eval[[]uint64](p, "("+seen+")()")
}

// seen is a function that returns the indices of the rows within the list's edges.
const seen = `() => { const list = $("#list").getBoundingClientRect();
	return $$("#list [data-index]").map(r => [r.getBoundingClientRect(), Number(r.dataset.index)])
		.filter(([b]) => b.bottom > list.top + 1 && b.top < list.bottom - 1)
		.sort((a, b) => a[0].top - b[0].top).map(([, i]) => i) }`

// sees waits until the row of an index is visible.
func (p *tab) sees(index uint64) time.Duration {
	p.t.Helper()
	return p.await(fmt.Sprintf("the row of %d", index), "("+seen+")().includes(%d) && $('#list [data-index=\"%d\"]').innerText.trim().length > String(%d).length", index, index, index)
}

// navigate goes to the permalink of an entry.
func navigate(s *server, index uint64) chromedp.Action[chromedp.Void] {
	return chromedp.Navigate(fmt.Sprintf("%s/#/%d", s.url, index))
}
