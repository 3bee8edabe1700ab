package cluster

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// otherVersion is the version of the other build.
const otherVersion = "0.0.0-other"

// otherBuild is a build of another version: the binary that CLUSTER_OTHER names, or these sources with
// another version number.
var otherBuild = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CLUSTER_OTHER"); path != "" {
		return path, nil
	}
	return build("tcp-log-server-other", "-ldflags", "-X tcp-log-server/internal/build.version="+otherVersion)
})

// TestUpgrade: nodes of another version are upgraded to this one, one at a time, while clients append, and
// then go back to the other one in the same way.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	now, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	other, err := otherBuild()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, options{Binary: map[string]string{"a": other, "b": other, "c": other}})
	before := versionOf(t, c.nodes[0])
	if os.Getenv("CLUSTER_OTHER") == "" && !strings.HasPrefix(before, otherVersion+" ") {
		t.Fatalf("the other build is of version %s", before)
	}
	endure(t, c, "leader", func(r *round) {
		for _, binary := range []string{now, other} {
			for _, n := range c.nodes {
				n.stop()
				n.bin = binary
				n.restart()
				r.current()
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n.running().cmd.Process.Pid)); exe != binary {
					t.Errorf("node %s runs %s, %v, want %s", n.name, exe, err, binary)
				}
			}
			r.goOn(c.nodes...)
		}
	})
}

// versionOf returns the version that a node reports.
func versionOf(t *testing.T, n *node) (version string) {
	t.Helper()
	eventually(t, "node "+n.name+" tells its version", func() bool {
		s, err := n.stat()
		version = cmp.Or(s.Version, version)
		return err == nil
	})
	return version
}
