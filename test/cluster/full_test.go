package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fill takes all the space that a disk has left, and returns what frees it again.
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

// TestFullDisk: the disk of one node is full. The others go on, and once there is room and the node
// has been restarted, it has everything too.
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
				eventually(t, "the node says that its disk is full", func() bool {
					said, _ := os.ReadFile(n.log)
					return bytes.Contains(said, []byte("no space left"))
				})
				r.goOn(c.others(n)...)
				free()
				n.kill()
				n.restart()
				r.current()
			})
		})
	}
}
