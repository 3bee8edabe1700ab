package page

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// hostile returns entries that would harm a page that treats them as more than text.
func hostile() (entries []string) {
	for _, text := range []string{
		`<script>window.ran = 1</script>`,
		`<img src=x onerror="window.ran = 2">`,
		`"><svg onload=window.ran=3>`,
		`javascript:window.ran=4`,
		`</textarea></style></title><iframe srcdoc="<script>parent.ran=5</script>">`,
		"${window.ran=6} {{constructor.constructor('window.ran=7')()}}",
		"\u202egnp.exe\u202c \u2066\u2067nested\u2069 \u200f\u200e",
		"a\u0000b\u0007c\u001b[31mred\u007f\u0085\u2028\u2029\ufeff\u200b",
		strings.Repeat("\u0301", 2000) + "zalgo" + strings.Repeat("o\u0336\u0489\u0f3c", 500),
		strings.Repeat("﷽", 500),
		strings.Repeat("W", 1000),
		"👨‍👩‍👧‍👦🏳️‍🌈\U000e0041\U0010fffd",
	} {
		b, _ := json.Marshal(map[string]any{"text": text, text: "as a name", "list": []string{text, text}})
		entries = append(entries, string(b))
	}
	entries = append(entries,
		strings.Repeat(`{"a":`, 127)+`[]`+strings.Repeat(`}`, 127),
		strings.Repeat(`[`, 128)+strings.Repeat(`]`, 128),
		`{"__proto__":{"ran":8},"constructor":{"prototype":{"ran":9}},"toString":"x","length":"y","hasOwnProperty":1}`,
		`{"":{"":{"":""}}," ":" ","\n":"\n"}`,
		`{"many":[`+strings.TrimSuffix(strings.Repeat(`{"x":[1,2,3]},`, 20_000), ",")+`]}`,
		`null`, `[]`, `{}`, `[null,true,false,-0,1e999,12345678901234567890123]`,
		`{"large":"`+strings.Repeat("0123456789abcde ", 1<<16-8)+`"}`,
		`{"unbroken":"`+strings.Repeat("x", 1<<20-100)+`"}`,
	)
	return entries
}

// TestHostile: the content of entries is always shown as text, and the layout holds.
func TestHostile(t *testing.T) {
	s := start(t)
	entries := hostile()
	last := s.append(entries...)
	p := open(t, s, "/")
	p.sees(last)
	p.harmless()
	p.picture("hostile-end")
	p.fill("#goto", "1")
	p.sees(1)
	p.harmless()
	p.picture("hostile")
	for index, entry := range entries { // the canonical forms of the others differ in length
		if size := fmt.Sprintf("%.1f KiB", float64(len(entry))/1024); index == 8 || index == 9 {
			if text := eval[string](p, `$('#list [data-index="%d"] .size').textContent`, index+1); text != size {
				t.Errorf("the list says that entry %d has %s, want %s", index+1, text, size)
			}
		}
	}
	heights := eval[[]float64](p, `[...new Set($$("#list [data-index]").map(r => r.getBoundingClientRect().height))]`)
	if len(heights) != 1 {
		t.Errorf("rows have heights %v", heights)
	}
	for index := uint64(1); index <= last; index++ {
		p.do(navigate(s, index))
		took := p.await("the entry to be verified", verified("yes")+` && location.hash === "#/%d" && $("#entry").textContent.includes("%d")`, index, index)
		p.harmless()
		switch {
		case index <= 2, index == 7, index == 8, index == 9, index == 13, len(entries[index-1]) > 100_000:
			p.picture(fmt.Sprintf("hostile-%02d", index))
		}
		if took.Seconds() > 3 {
			t.Errorf("entry %d took %v to be shown", index, took)
		}
	}
	if heap := p.heap(); heap > 150 {
		t.Errorf("the heap is %.1f MB", heap)
	}
}

// harmless checks that no script of an entry has run, and that the layout holds.
func (p *tab) harmless() {
	p.t.Helper()
	if ran := eval[string](p, `String(window.ran) + String({}.ran)`); ran != "undefinedundefined" {
		p.t.Fatalf("an entry has run: %s", ran)
	}
	if n := eval[int](p, `$$("#list script, #list img, #list iframe, #entry script, #entry img, #entry iframe, #entry svg[onload]").length`); n > 0 {
		p.t.Errorf("%d elements come from entries", n)
	}
	p.fits()
}
