//go:build !unix

package fsck

import "testing"

// makePipe is not possible here.
func makePipe(t testing.TB, _ string) {
	t.Helper()
	t.Skip("there are no named pipes in directories")
}
