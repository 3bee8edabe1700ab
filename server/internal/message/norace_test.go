//go:build !race

package message

// raceEnabled tells tests that count allocations whether to skip.
const raceEnabled = false
