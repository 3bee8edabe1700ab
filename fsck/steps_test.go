package fsck

import "testing"

// every returns the distance between the bits, cuts, changes and so on that a test tries:
// in a short run it tries some of each kind, and otherwise all.
func every(some int) int {
	if testing.Short() {
		return some
	}
	return 1
}
