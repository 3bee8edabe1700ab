package canonical

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
)

// Typical log entries of about 200 bytes, one in canonical form and one with its
// members in the order that people write.
const (
	sorted200 = `{"attempt":3,"duration_ms":12.75,"http":{"method":"POST","path":"/api/v1/orders","status":201},` +
		`"level":"info","msg":"order accepted","service":"checkout","tags":["eu","blue"],"time":"2025-06-01T12:34:56.789Z"}`
	unsorted200 = `{"time":"2025-06-01T12:34:56.789Z","level":"info","service":"checkout","msg":"order accepted",` +
		`"attempt":3,"duration_ms":12.75,"http":{"method":"POST","path":"/api/v1/orders","status":201},"tags":["eu","blue"]}`
)

func compact4k() []byte {
	return []byte("[" + strings.TrimSuffix(strings.Repeat(sorted200+",", 20), ",") + "]")
}

func pretty4k() []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, compact4k(), "", "  "); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// deep returns a value of the maximum depth with every object out of order.
func deep() []byte {
	return []byte(strings.Repeat(`{"b":1,"a":`, maxDepth) + "0" + strings.Repeat("}", maxDepth))
}

// numbers returns numbers that take all paths through number.
func numbers() []byte {
	var out bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&out, ",%d,%d.%d,1.50,-0.0%d,0.8444218515250%d,1717243%d123456,1e%d,123456789012345678%d",
			i, i, i+1, i+1, 100+i, 100+i, i, i)
	}
	return []byte("[" + out.String()[1:] + "]")
}

func BenchmarkAppend(b *testing.B) {
	for _, bb := range []struct {
		name string
		src  []byte
	}{
		{"sorted200", []byte(sorted200)},
		{"unsorted200", []byte(unsorted200)},
		{"compact4k", compact4k()},
		{"pretty4k", pretty4k()},
		{"deep", deep()},
		{"numbers", numbers()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var out []byte
			b.SetBytes(int64(len(bb.src)))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, _, err = Append(out[:0], bb.src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendHash200 does what a server does for each entry: write its
// canonical form and hash it.
func BenchmarkAppendHash200(b *testing.B) {
	for _, bb := range []struct{ name, src string }{
		{"sorted", sorted200},
		{"unsorted", unsorted200},
	} {
		b.Run(bb.name, func(b *testing.B) {
			src := []byte(bb.src)
			var out []byte
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, _, err = Append(out[:0], src); err != nil {
					b.Fatal(err)
				}
				_ = blake3.Sum256(out)
			}
		})
	}
}

func BenchmarkSkip(b *testing.B) {
	src := compact4k()
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Skip(src); err != nil {
			b.Fatal(err)
		}
	}
}
