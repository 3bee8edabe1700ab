package lookup

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// TestFormatHexdump compares the hexdump of a table in docs/FORMAT.md, which leaves out
// lines of zeros, with the table of the first two entries of the golden store.
func TestFormatHexdump(t *testing.T) {
	h := Header{Store: segment.StoreID([]byte("golden-store-v1\x00")), First: 1, Last: 2}
	var rows []Row
	for i, entry := range []string{`{"a":2,"b":1}`, `[]`} {
		h.Hash = segment.Sum([]byte(entry))
		rows = append(rows, Row{Prefix: Prefix(h.Hash), Delta: uint32(i)})
	}
	SortRows(rows)
	path, err := Write(t.TempDir(), h, rows)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	file := readFile(t, path)
	for at := 0; at < len(file); at += 16 {
		line := file[at : at+16]
		if strings.Trim(string(line), "\x00") == "" {
			continue
		}
		fmt.Fprintf(&want, "%08x  % x  % x\n", at, line[:8], line[8:])
	}
	doc, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(doc), "\n```table "+Name(1, 2)+"\n")
	block, _, closed := strings.Cut(block, "```\n")
	if !found || !closed || block != want.String() {
		t.Errorf("docs/FORMAT.md has\n%s\nthe table is\n%s", block, want.String())
	}
}
