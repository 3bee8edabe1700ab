//go:build !race

package canonical

// raceEnabled tells tests that count allocations to leave it.
const raceEnabled = false
