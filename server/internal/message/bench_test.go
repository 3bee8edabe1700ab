package message

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParseWrite(b *testing.B) {
	// The entry is 200 bytes long in canonical form.
	line := fmt.Appendf(nil, `{"id":"123456","entry":{"amount":12.5,"id":1234567,"kind":"order","lines":[1,2,3],"note":"%s","to":{"city":"Bern","zip":3000}}}`, strings.Repeat("x", 103))
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	var entries []byte
	for b.Loop() {
		m, out, err := Parse(line, entries[:0])
		if err != nil || m.Kind != Write {
			b.Fatal(err)
		}
		entries = out
	}
}
