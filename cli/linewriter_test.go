package cli

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestWritten: an entry counts only once its lines are written, and one without lines with those
// before it.
func TestWritten(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := newLineWriter(in)
	line := strings.Repeat("x", 999) + "\n"
	const entries = 900 // of 1,000 bytes, so that all fit
	for i := range uint64(entries) {
		w.addEntry(2*i+1, func(b []byte) []byte { return append(b, line...) })
		w.addEntry(2*i+2, func(b []byte) []byte { return b })
	}
	const taken = 100_000
	if _, err := io.ReadFull(out, make([]byte, taken)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if err := w.close(); err != nil {
		t.Errorf("close: %v", err)
	}
	<-w.ended
	// What the pipe had room for was written too: 64 KiB on Linux, elsewhere no more than that.
	if n := w.written(); n > 2*(taken+64<<10)/1000 || n%2 == 1 {
		t.Errorf("entry %d counts as written", n)
	}

	out, in, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w = newLineWriter(in)
	w.addEntry(7, func(b []byte) []byte { return append(b, "7\n"...) })
	w.addEntry(5, func(b []byte) []byte { return b }) // an earlier one, as at the end of a read
	if err := w.close(); err != nil || w.written() != 7 {
		t.Errorf("entry %d counts as written, %v, want 7", w.written(), err)
	}
	w = newLineWriter(in)
	w.addEntry(9, func(b []byte) []byte { return b })
	if err := w.close(); err != nil || w.written() != 9 {
		t.Errorf("entry %d counts as written, %v, want 9", w.written(), err)
	}
}
