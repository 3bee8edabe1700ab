package cluster

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPowerCut cuts the power of one node, and of all at once: every entry acknowledged before the
// cut is there. The control shows that the cut is real: nodes that sync by a timer lose acknowledged
// entries when all lose power.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"leader", "all"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disks, data := newDisks(t, 512)
			c := newCluster(t, options{Data: data})
			endure(t, c, "leader", func(r *round) {
				if name == "all" {
					cutPower(c.nodes, disks)
					return
				}
				leader := c.leader()
				cutPower([]*node{leader}, disks)
				r.goOn(c.others(leader)...)
			})
		})
	}
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		disks, data := newDisks(t, 512)
		binary, err := withoutSync()
		if err != nil {
			t.Fatal(err)
		}
		c := newCluster(t, options{Data: data, Binary: map[string]string{"a": binary, "b": binary, "c": binary}})
		h := newHistory()
		k := begin(c, h, steady)
		(&round{t, c, h}).goOn(c.nodes...)
		for _, disk := range disks {
			disk.sync() // so that a log exists, of which only the end may be missing
		}
		time.Sleep(2 * time.Second)
		cutPower(c.nodes, disks)
		k.halt() // clients that wait for an answer have lost their connections
		k.finish()
		c.start()
		_, err = settledHead(c, h.maxAcked())
		stored, _, _ := h.counts()
		switch {
		case err == nil:
			t.Error("nodes that sync by a timer have lost nothing: the cut is none")
		case !strings.Contains(err.Error(), "acknowledged entries are missing") && !strings.Contains(err.Error(), "has lost messages") &&
			!strings.Contains(err.Error(), "messages before it in the cluster have not arrived"):
			t.Fatal(err)
		default:
			t.Logf("%d entries were acknowledged; as it has to be without a sync: %v", stored, err)
		}
	})
}

// withoutSync is a server whose nodes sync by a timer.
var withoutSync = sync.OnceValues(func() (string, error) {
	const with = "		SyncAlways: true,\n	}\n	if len(c.Members) == 1 {"
	return buildAltered("tcp-log-server-unsynced", "internal/cluster/options.go", with, strings.Replace(with, "true", "false", 1))
})
