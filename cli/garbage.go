package cli

import (
	"os"
	"runtime/debug"
)

const (
	// gcPercent is by how much of itself the heap grows between two collections.
	gcPercent = 400
	// gcLimit is the size in bytes up to which it may grow so much.
	gcLimit = 512 << 20
)

// limitGarbage sets how often garbage is collected, unless GOGC and GOMEMLIMIT do. Little
// of what the server and the commands allocate lives long, and what does is small: at the
// default of 100 they would collect many times a second under load, and a command that
// reads a log would take a tenth longer. Where a lot is in flight, the limit makes it
// collect sooner.
func limitGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(gcLimit)
	}
}
