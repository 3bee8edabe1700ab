package pieces

import (
	"bytes"
	"fmt"
	"testing"
)

// TestAppend: the result is that of append, and dst is not moved if it has room.
func TestAppend(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcde"), 3*size/15+7)
	for _, before := range []int{0, 1, size - 1, size, 2*size + 1} {
		for _, room := range []int{0, 1, size, len(text), len(text) + 100} {
			for _, n := range []int{0, 1, size, size + 1, len(text)} {
				t.Run(fmt.Sprint(before, room, n), func(t *testing.T) {
					dst := append(make([]byte, 0, before+room), text[:before]...)
					got := Append(dst, text[:n])
					if want := append(bytes.Clone(text[:before]), text[:n]...); !bytes.Equal(got, want) {
						t.Fatalf("%d bytes, want %d", len(got), len(want))
					}
					if fits := n <= room; before > 0 && fits != (&got[0] == &dst[0]) {
						t.Errorf("it fits: %v; it was moved: %v", fits, fits)
					}
				})
			}
		}
	}
}
