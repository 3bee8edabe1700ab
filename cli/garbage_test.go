package cli

import (
	"testing"

	"tcp-log-server/server"
)

// TestGarbageLimit: what peers can make a server hold with the default settings leaves room
// below the limit of the heap, or the collector would run without end.
func TestGarbageLimit(t *testing.T) {
	c := server.NewConfig()
	if bound := c.MemoryBound(); bound+gcRoom > gcLimit {
		t.Errorf("the server may hold %d MiB, and %d MiB of room are over the limit of %d MiB", bound>>20, gcRoom>>20, gcLimit>>20)
	}
}
