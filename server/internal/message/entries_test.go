package message

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzEntries: text that is one entry gives the same as the "entry" of a message, text of many
// the same as one by one, and nothing else is accepted.
func FuzzEntries(f *testing.F) {
	for _, text := range []string{
		`{}`, ` [1] `, "null\n", `7`, `"x"`, `{"a":1,"a":2}`, `{"a":`, `{"a":1},"if":5,"x":{}`, `{}{}`, "{}\n[1]\nnull", `{} x`, "", " ", "\x16\x03", "{\"b\":1,\n\"a\":2}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, out := ParseEntries(text, nil, nil, false)
		message, want, err := Parse([]byte(`{"id":"x","entry":`+string(text)+`}`), nil)
		switch {
		case m.Kind != Write || m.ID != nil || m.Terms != nil || m.Fault != "":
			t.Fatalf("got %+v, want a write of nothing but its entry", m)
		case m.Refused == nil && (err != nil || message.Kind != Write || message.Refused != nil || !bytes.Equal(out, want)):
			t.Fatalf("took %q, which a message does not: %v, %v %q", out, err, message.Refused, message.Fault)
		case m.Refused == nil:
		case len(out) > 0:
			t.Fatalf("refused: %v, and appended %q", m.Refused, out)
		case !errors.Is(m.Refused, ErrNotJSON) && err == nil && message.Kind == Write && (message.Refused == nil || message.Refused.Error() != m.Refused.Error()):
			t.Fatalf("refused with %v, and in a message with %v", m.Refused, message.Refused)
		}
		batch, all := ParseEntries(text, nil, nil, true)
		if m.Refused == nil && (batch.Refused != nil || batch.Terms.Count != 1 || !bytes.Equal(all, out)) {
			t.Fatalf("as a batch: %v, %+v, %q, want one entry %q", batch.Refused, batch.Terms, all, out)
		}
		if batch.Refused != nil {
			return
		}
		if n := bytes.Count(all, []byte("\n")); n != batch.Terms.Count {
			t.Fatalf("a batch of %d has %d lines: %q", batch.Terms.Count, n, all)
		}
		again, same := ParseEntries(all, nil, nil, true) // its lines are entries
		if again.Refused != nil || again.Terms.Count != batch.Terms.Count || !bytes.Equal(same, all) {
			t.Fatalf("%q again is %v, %q", all, again.Refused, same)
		}
	})
}
