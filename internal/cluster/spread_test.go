//go:build !nocluster

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSpread: the kernel is asked to write what is appended to the newest block, once, in pieces of a
// useful size, and all of a block when the next one begins.
func TestSpread(t *testing.T) {
	dir := t.TempDir()
	var asked []string
	s := &spreader{scan: &scanner{dir: dir}, write: func(f *os.File, off, length int64) {
		asked = append(asked, fmt.Sprintf("%s: %d+%d", filepath.Base(f.Name()), off, length))
	}}
	resize := func(block int, size int64) func() {
		return func() {
			t.Helper()
			f, err := os.OpenFile(s.scan.path(block), os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				err = f.Truncate(size)
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(block int) func() {
		return func() {
			if err := os.Remove(s.scan.path(block)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const k = spreadFrom
	for i, step := range []struct {
		do    func()
		grown bool
		want  []string
	}{
		{func() {}, false, nil},
		{resize(3, 0), false, nil},
		{resize(3, k-1), true, nil},
		{func() {}, false, nil},
		{resize(3, k+5), true, []string{"3.blk: 0+262149"}},
		{resize(3, 2*k), true, nil},
		{resize(4, 100), true, []string{"3.blk: 262149+262139"}},
		{func() {}, true, nil},
		{func() {}, false, nil},
		{resize(4, 2*k), true, []string{"4.blk: 0+524288"}},
		{resize(4, 10), false, nil}, // cut
		{resize(4, k+10), true, []string{"4.blk: 10+262144"}},
		{remove(4), false, nil},
		{func() {}, true, []string{"3.blk: 0+524288"}}, // the newest again
		{remove(3), false, nil},
		{resize(1, 3*k), true, []string{"1.blk: 0+786432"}},
	} {
		asked = nil
		step.do()
		if grown := s.tick(); grown != step.grown {
			t.Errorf("step %d: grown is %v, want %v", i, grown, step.grown)
		}
		if !slices.Equal(asked, step.want) {
			t.Errorf("step %d: asked for %q, want %q", i, asked, step.want)
		}
	}
}
