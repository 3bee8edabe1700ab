package fsck

import (
	"os"
	"testing"
	"time"
)

// age makes a file an hour old: a file younger than the check may be a running server's.
func age(t testing.TB, path string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(path, old, old))
}
