package printable

import (
	"encoding/json"
	"testing"
)

// TestText: printable text stays unchanged, and everything else is escaped.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"plain text, äöü, 日本, 😀": "plain text, äöü, 日本, 😀",
		"\x1b[31mred\x1b[0m":     `\u001b[31mred\u001b[0m`,
		"a\nhint: forged\r":      `a\u000ahint: forged\u000d`,
		"\u009b2J\x7f":           `\u009b2J\u007f`,
		"txt.\u202egpj\u200b":    `txt.\u202egpj\u200b`,
		"a\xffb\xc2":             `a\xffb\xc2`,
		"\U000e0041":             `\udb40\udc41`,
		"\ufffd":                 `\ufffd`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestTextOfJSON: JSON text stays JSON text with the same value.
func TestTextOfJSON(t *testing.T) {
	want := "\x1b\n\u009b\u202e\U000e0041\u2028\ufffd"
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal([]byte(Text(string(b))), &got); err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
