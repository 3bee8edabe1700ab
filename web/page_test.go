package web

import "testing"

// TestPageIsSmall: anyone who runs the server should be able to read the whole page.
func TestPageIsSmall(t *testing.T) {
	const limit = 100 << 10
	total := 0
	for _, file := range pageFiles {
		total += len(file.content)
	}
	if total >= limit {
		t.Errorf("the files of the page have %d bytes together, want less than %d", total, limit)
	}
}
