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
	// server.Config.MemoryBound, without connections, and engine.HashMemory by gcRoom: at a
	// limit below what is in use the collector would never stop.
	gcLimit = 768 << 20
	// nodePercent and nodeLimit are the same for a server whose log is in a cluster. It has NATS in it, which
	// keeps more of what it allocates. Measured with 3,000,000 entries by one client, three nodes: a fifth
	// less memory at the peak, with no more than a tenth more CPU time. At 400 MiB it would be twice the
	// CPU time. What peers can make the server hold may exceed the limit: then the collector takes up to half
	// of the CPU, which the runtime does not let it exceed.
	nodePercent = 200
	nodeLimit   = 600 << 20
	// gcRoom is room for garbage, and for what connections hold by themselves.
	gcRoom = 128 << 20
)

// limitGarbage sets how often garbage is collected, unless GOGC and GOMEMLIMIT do. Little of what
// the server and the commands allocate lives long: at the default of 100 they would collect many
// times a second under load, and a command that reads a log would take a tenth longer. If a lot
// of memory is in use, the limit makes collections more frequent.
func limitGarbage() { limitGarbageTo(gcPercent, gcLimit) }

// limitGarbageOf is limitGarbage for a server that has these settings.
func limitGarbageOf(c *daemon.Config) {
	if c.Cluster.Nodes != "" || c.Cluster.URL != "" {
		limitGarbageTo(nodePercent, nodeLimit)
	}
}

// limitGarbageTo sets how much the heap grows between two collections, and up to which size.
func limitGarbageTo(percent int, limit int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
}
