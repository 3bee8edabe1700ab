package cli

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"tcp-log-server/daemon"
	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// TestGarbageLimit: the memory that peers can make a server hold with the default settings leaves
// room below the limit of the heap, or the collector would run without end.
func TestGarbageLimit(t *testing.T) {
	c := server.NewConfig()
	if bound := c.MemoryBound(0) + engine.HashMemory; bound+gcRoom > gcLimit {
		t.Errorf("the server may hold %d MiB, and %d MiB of room are over the limit of %d MiB", bound>>20, gcRoom>>20, gcLimit>>20)
	}
}

// TestMemoryPage: the bounds in docs/OPERATIONS.md are those of the default settings.
func TestMemoryPage(t *testing.T) {
	b, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(b), "\n## Memory\n")
	page, _, _ = strings.Cut(page, "\n## ")
	page = strings.Join(strings.Fields(page), " ")
	c := server.NewConfig()
	together := c.MemoryBound(0)
	for _, want := range []string{
		fmt.Sprintf("| lines that are arriving, output that is not read, what has been read for replays that wait, and filters | %d MiB |", c.MaxHeld>>20),
		fmt.Sprintf("| entries that wait for the disk | %d MiB |", c.MaxInFlight>>20),
		fmt.Sprintf("| replies that wait | %d MiB;", (together-c.MaxHeld-c.MaxInFlight-int64(c.TailCache))>>20),
		fmt.Sprintf("| the newest lines, for followers | %d MiB |", c.TailCache>>20),
		fmt.Sprintf("| **together** | **%d MiB** |", together>>20),
		fmt.Sprintf("in addition at most %d KiB for each connection", server.ConnectionBound>>10),
		fmt.Sprintf("up to %d MiB more", engine.HashMemory>>20),
		fmt.Sprintf("below %d MiB", gcLimit>>20),
		fmt.Sprintf("%s of them can hold %s MiB", grouped(uint64(c.MaxConnections)), grouped(uint64(c.MemoryBound(c.MaxConnections)>>20))),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("docs/OPERATIONS.md does not say %q", want)
		}
	}
}

// TestNodeGarbage: a server of a cluster collects more often, as docs/CLUSTER.md says, unless the
// environment says how often. Nothing else does.
func TestNodeGarbage(t *testing.T) {
	was := debug.SetGCPercent(gcPercent)
	t.Cleanup(func() { debug.SetGCPercent(was) })
	doc, err := os.ReadFile("../docs/CLUSTER.md")
	if want := fmt.Sprintf("`GOGC=%d`, unless", nodePercent); err != nil || !strings.Contains(string(doc), want) {
		t.Errorf("docs/CLUSTER.md does not say %q, %v", want, err)
	}
	node, gateway, plain := daemon.NewConfig("x"), daemon.NewConfig("x"), daemon.NewConfig("x")
	node.Cluster.Nodes, gateway.Cluster.URL = "a=h:1", "nats://h"
	for _, c := range []struct {
		config *daemon.Config
		env    string
		want   int
	}{{&node, "", nodePercent}, {&gateway, "", nodePercent}, {&plain, "", gcPercent}, {&node, "300", gcPercent}} {
		t.Setenv("GOGC", c.env)
		debug.SetGCPercent(gcPercent)
		limitGarbageOf(c.config)
		if percent := debug.SetGCPercent(gcPercent); percent != c.want {
			t.Errorf("with GOGC=%s and %+v it is %d %%, want %d", c.env, c.config.Cluster, percent, c.want)
		}
	}
}
