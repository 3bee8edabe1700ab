//go:build race

package canonical

// raceEnabled tells tests that count allocations whether to skip.
const raceEnabled = true
