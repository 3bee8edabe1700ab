package server

import (
	"bytes"
	"fmt"
	"math"
	"testing"
)

// entry200 is an entry of 200 bytes in canonical form.
var entry200 = fmt.Appendf(nil, `{"amount":12.5,"id":1234567,"kind":"order","lines":[1,2,3],"note":"%s","to":{"city":"Bern","zip":3000}}`, bytes.Repeat([]byte("x"), 103))

func BenchmarkParseWrite(b *testing.B) {
	line := fmt.Appendf(nil, `{"id":"123456","entry":%s}`, entry200)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	var entries []byte
	for b.Loop() {
		m, out, err := parse(line, entries[:0])
		if err != nil || m.kind != write {
			b.Fatal(err)
		}
		entries = out
	}
}

func BenchmarkEncodeRun(b *testing.B) {
	const count = 1000
	run := bytes.Repeat(append(bytes.Clone(entry200), '\n'), count)
	b.SetBytes(int64(len(run)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, _, _ = appendRun(out[:0], 1_000_000, count, run, nil, math.MaxInt)
	}
}

func BenchmarkReplies(b *testing.B) {
	g := new(group)
	for i := range 100 {
		g.add(fmt.Appendf(nil, `"%d"`, i))
	}
	g.stored.First = 1_000_000
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = out[:0]
		for g.replied, g.repliedID = 0, 0; g.more(); {
			out = g.appendReply(out)
		}
	}
}
