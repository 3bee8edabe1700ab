package reader

import (
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/segment"
)

// TestLines: entries are found behind whatever bytes a header ends in.
func TestLines(t *testing.T) {
	for _, header := range []string{"", "BTCH\x00\x00\n\x00crc", "BTCH\x00\n\x01\x02\x03", "BTCH\x00\x00{[\n", "BTCH\x00\n{n["} {
		path := filepath.Join(t.TempDir(), "file")
		body := header + "{\"n\":1}\nnull\n[2]\n"
		if err := os.WriteFile(path, []byte("before"+body+"behind"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		found := lines(f, 6, int64(6+len(body)))
		for _, want := range []string{`{"n":1}`, "null", "[2]"} {
			if got := string(found[segment.Sum([]byte(want))]); got != want {
				t.Errorf("behind %q: found %q, want %q", header, got, want)
			}
		}
	}
}
