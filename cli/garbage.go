package cli

import (
	"os"
	"runtime/debug"
)

const (
	// gcPercent is how much the heap grows between two collections, in percent.
	gcPercent = 400
	// gcLimit is the size in bytes up to which the heap grows that much. It exceeds
	// server.Config.MemoryBound, without connections, and engine.HashMemory by gcRoom: at a
	// limit below what is in use the collector would never stop.
	gcLimit = 768 << 20
	// gcRoom is room for garbage, and for what connections hold by themselves.
	gcRoom = 128 << 20
)

// limitGarbage sets how often garbage is collected, unless GOGC and GOMEMLIMIT do. Little of what
// the server and the commands allocate lives long: at the default of 100 they would collect many
// times a second under load, and a command that reads a log would take a tenth longer. If a lot
// of memory is in use, the limit makes collections more frequent.
func limitGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(gcLimit)
	}
}
