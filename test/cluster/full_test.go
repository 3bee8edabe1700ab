package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fill uses up all free space of a disk, and returns a function that frees it.
func (d *disk) fill() (free func()) {
	d.t.Helper()
	path := filepath.Join(d.dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for b := make([]byte, size); ; {
			if _, err := f.Write(b); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			d.t.Fatal(err)
		}
	}
}

// TestFullDisk: the disk of one node is full. All nodes continue, that one through the others. Once
// there is room the node ends, so that its service manager restarts it, and it catches up.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			disks, data := newDisks(t, 64)
			c := newCluster(t, options{Data: data})
			endure(t, c, "leader", func(r *round) {
				n := c.leader()
				if who == "follower" {
					n = c.others(n)[0]
				}
				free := disks[n.name].fill()
				r.goOn(c.others(n)...)
				eventually(t, "the node says that it is out of the cluster", func() bool {
					said, _ := os.ReadFile(n.log)
					return bytes.Contains(said, []byte("until its disk can be written"))
				})
				r.goOn(c.nodes...)
				p := n.running()
				free()
				n.ended()
				if code := p.cmd.ProcessState.ExitCode(); code != 1 {
					t.Errorf("node %s ended with %d, want 1: %s", n.name, code, n.said())
				}
				n.restart()
				r.current()
			})
		})
	}
}
