package fsck

import (
	"os"
	"testing"
	"time"
)

// age makes a file an hour old: what a check finds younger than itself may be a
// running daemon's.
func age(t testing.TB, path string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(path, old, old))
}
