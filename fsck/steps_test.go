package fsck

import "testing"

// every is how many bits, cuts, changes and so on those that a test tries lie apart: in a
// short run some of them, of each kind, and otherwise all.
func every(some int) int {
	if testing.Short() {
		return some
	}
	return 1
}
