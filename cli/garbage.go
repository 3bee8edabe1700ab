package cli

import (
	"os"
	"runtime/debug"

	"tcp-log-server/daemon"
)

const (
	// gcPercent is how much the heap grows between two collections, in percent.
	gcPercent = 400
	// gcLimit is the size in bytes up to which the heap grows that much. It exceeds
	// server.Config.MemoryBound, without connections, and engine.HashMemory by gcRoom: if the limit were
	// below the memory in use, the collector would never stop.
	gcLimit = 768 << 20
	// nodePercent is gcPercent for a server whose log is in a cluster. It includes NATS, which keeps more
	// of what it allocates. Measured with 3,000,000 entries from one client and three nodes: a third less
	// memory at the peak, and a tenth to a fifth more CPU time. A lower gcLimit would take less memory too,
	// but it must stay above what peers can make the server hold.
	nodePercent = 100
	// gcRoom is room for garbage, and for memory that each connection holds.
	gcRoom = 128 << 20
)

// limitGarbage sets how often garbage is collected, unless GOGC and GOMEMLIMIT do. Most allocations of the
// server and the commands are short-lived: at the default of 100 they would collect many times a second
// under load, and a command that reads a log would take a tenth longer. If a lot of memory is in use, the
// limit makes collections more frequent.
func limitGarbage() {
	setPercent(gcPercent)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(gcLimit)
	}
}

// limitGarbageOf collects more often in a server of a cluster.
func limitGarbageOf(c *daemon.Config) {
	if c.Cluster.Nodes != "" || c.Cluster.URL != "" {
		setPercent(nodePercent)
	}
}

func setPercent(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
