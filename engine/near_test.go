package engine_test

import (
	"testing"
	"testing/synctest"
)

// TestNear: entries before the first segment are far away only if the blobs are in another
// store.
func TestNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range map[string]*store{"directory": nil, "store": new(store)} {
			c := storeConfig(t, nil)
			if s != nil {
				c.BlobStore = s
			}
			l := open(t, c)
			if n := l.Near(); n != 1 {
				t.Errorf("%s: an empty log is near from %d on", name, n)
			}
			write(t, l, 1, 100)
			until(t, l, removedSome)
			want := uint64(1)
			if s != nil {
				want = l.Stats().First
			}
			if n := l.Near(); n != want {
				t.Errorf("%s: near from %d on, want %d", name, n, want)
			}
			closeLog(t, l)
		}
	})
}
