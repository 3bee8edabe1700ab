package segment

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func recordOf(entry string) Record {
	return Record{Hash: Sum([]byte(entry)), Size: uint32(len(entry)), Time: 1}
}

// TestSalvagerHeaders finds entries after a header, whatever its last bytes are.
func TestSalvagerHeaders(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"", "BTCH\x00\x00\n\x00crc", "BTCH\x00\n\x01\x02\x03", "BTCH\x00\x00{[\n", "BTCH\x00\n{n["} {
		for _, end := range []string{"\n", ""} {
			body := header + "{\"n\":1}\nnull\n[2]" + end
			padded := "before" + body + strings.Repeat(" ", BatchHeaderSize)
			for i, want := range []string{`{"n":1}`, "null", "[2]"} {
				to := int64(6 + len(body))
				if end == "\n" {
					to = int64(len(padded))
				}
				m := &Salvager{r: strings.NewReader(padded), from: 6, end: to, next: -1}
				if got, ok := m.Find(recordOf(want)); !ok || string(got) != want {
					t.Errorf("entry %d after %q: found %q, %v", i, header, got, ok)
				}
			}
		}
	}
}

// TestSalvager damages the body of a batch, and finds all entries whose bytes still
// exist, wherever they are.
func TestSalvager(t *testing.T) {
	t.Parallel()
	var entries []string
	for i := range 6 {
		entries = append(entries, fmt.Sprintf(`{"entry":%d,"text":"%s"}`, i, strings.Repeat("x", i)))
	}
	batch, _ := frame(entries...)
	off := func(entry int) int { return BatchHeaderSize + len(strings.Join(entries[:entry], "\n")) + min(entry, 1) }
	cut := func(b []byte, at, n int) []byte { return append(b[:at], b[at+n:]...) }
	for _, tt := range []struct {
		name  string
		spoil func(b []byte) []byte
		lost  string
	}{
		{"nothing", func(b []byte) []byte { return b }, ""},
		{"a flipped bit", func(b []byte) []byte { b[off(2)+4] ^= 1; return b }, "2"},
		{"a flipped newline", func(b []byte) []byte { b[off(2)-1] ^= 1; return b }, ""},
		{"a byte too many", func(b []byte) []byte { return append(b[:off(2)+3], append([]byte{'x'}, b[off(2)+3:]...)...) }, "2"},
		{"a byte too few", func(b []byte) []byte { return cut(b, off(1)+3, 1) }, "1"},
		{"an entry too few", func(b []byte) []byte { return cut(b, off(3), off(4)-off(3)) }, "3"},
		{"two entries in each other's place", func(b []byte) []byte {
			return append(append(append(b[:off(1):off(1)], entries[2]+"\n"...), entries[1]+"\n"...), b[off(3):]...)
		}, ""},
		{"zeros", func(b []byte) []byte { clear(b[off(1)+2 : off(4)+2]); return b }, "1234"},
		{"zeros to the end", func(b []byte) []byte { clear(b[off(4):]); return b }, "45"},
		{"cut short", func(b []byte) []byte { return b[:off(5)+3] }, "5"},
		{"cut before the last newline", func(b []byte) []byte { return b[:len(b)-1] }, ""},
		{"no header", func(b []byte) []byte { return b[BatchHeaderSize:] }, ""},
		{"half a header", func(b []byte) []byte { return b[20:] }, ""},
		{"zeros before", func(b []byte) []byte { return append(make([]byte, 2<<20), b...) }, ""},
	} {
		for _, known := range []string{"012345", "0245", "5", "3"} { // the existing records
			b := tt.spoil(bytes.Clone(batch))
			m := NewSalvager(bytes.NewReader(b), 0, int64(len(b)))
			for i, entry := range entries {
				name := fmt.Sprint(i)
				if !strings.Contains(known, name) {
					m.Skip()
					continue
				}
				got, ok := m.Find(recordOf(entry))
				if want := !strings.Contains(tt.lost, name); ok != want || ok && string(got) != entry {
					t.Errorf("%s, with records %s: entry %d is %q, %v; want %v", tt.name, known, i, got, ok, want)
				}
			}
		}
	}
	none := NewSalvager(bytes.NewReader(batch), 0, BatchHeaderSize)
	if none.Skip(); none != nil {
		t.Error("there is a salvager of no bytes")
	}
	if _, ok := none.Find(recordOf("[]")); ok {
		t.Error("an entry is found in no bytes")
	}
}

// TestReach: the bytes do not count as holding all entries up to one that was appended
// again later than they were written.
func TestReach(t *testing.T) {
	t.Parallel()
	text := func(index uint64) string {
		if index%100 == 2 {
			return `{"alive":true}`
		}
		return fmt.Sprintf(`{"index":%d}`, index)
	}
	record := func(index uint64) (Record, bool) { return recordOf(text(index)), index != 3 }
	for _, tt := range []struct{ through, want uint64 }{{0, 0}, {1, 1}, {2, 2}, {3, 2}, {4, 4}, {6, 6}} {
		body := make([]byte, BatchHeaderSize)
		for index := uint64(1); index <= tt.through; index++ {
			body = append(append(body, text(index)...), '\n')
		}
		body = append(body, make([]byte, 30)...)
		if got := NewSalvager(bytes.NewReader(body), 0, int64(len(body))).Reach(1, 1000, record); got != tt.want {
			t.Errorf("of bytes with %d entries, %d are reached, want %d", tt.through, got, tt.want)
		}
	}
}
