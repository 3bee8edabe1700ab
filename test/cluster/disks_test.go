package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// disk is an ext4 file system in a file, on a loop device.
type disk struct {
	t    testing.TB
	file string
	dir  string // where it is mounted
	on   bool
}

// needDisks skips the test if it cannot make disks.
func needDisks(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tool := range []string{"losetup", "mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("needs a loop device: %s", out)
	}
}

// newDisks returns a disk of the given size for each node, and the directory of its data.
func newDisks(t testing.TB, megabytes int64) (disks map[string]*disk, data map[string]string) {
	t.Helper()
	needDisks(t)
	disks, data = make(map[string]*disk), make(map[string]string)
	for _, name := range names {
		disks[name] = newDisk(t, megabytes)
		data[name] = filepath.Join(disks[name].dir, "data")
	}
	return disks, data
}

func newDisk(t testing.TB, megabytes int64) *disk {
	t.Helper()
	base, err := os.MkdirTemp("", "cluster-disk")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{t: t, file: filepath.Join(base, "image"), dir: filepath.Join(base, "mnt")}
	t.Cleanup(func() {
		d.unmount()
		os.RemoveAll(base)
	})
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.file, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.file).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.file, d.dir).CombinedOutput(); err != nil {
		t.Skipf("needs to mount an image on a loop device: %s", out)
	}
	d.on = true
	return d
}

// remount makes the kernel forget everything that is not on the disk. Processes that use it must
// have ended.
func (d *disk) remount() {
	d.t.Helper()
	d.unmount()
	if out, err := exec.Command("mount", "-o", "loop", d.file, d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("mount: %v: %s", err, out)
	}
	d.on = true
}

func (d *disk) unmount() {
	d.t.Helper()
	if !d.on {
		return
	}
	if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("umount: %v: %s", err, out)
	}
	d.on = false
}

// sync writes everything to the disk.
func (d *disk) sync() {
	d.t.Helper()
	if out, err := exec.Command("sync", "--file-system", d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("sync: %v: %s", err, out)
	}
}

// cut cuts the power: from now on neither data nor the journal reaches the disk.
func (d *disk) cut() {
	d.t.Helper()
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		d.t.Skipf("needs ext4 that can be shut down: %v", errno)
	}
}

// freeze stops a node and waits until all its threads have stopped: from then on, no result of the
// disk gets out.
func (n *node) freeze() {
	n.t.Helper()
	n.signal(syscall.SIGSTOP)
	p := n.running()
	eventually(n.t, fmt.Sprintf("node %s has stopped", n.name), func() bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				return false
			}
			if end := bytes.LastIndexByte(b, ')'); end < 0 || !strings.HasPrefix(string(b[end:]), ") T") {
				return false
			}
		}
		return len(files) > 0
	})
}

// cutPower cuts the power of nodes at once. Afterwards they are down, and their disks have
// everything that was synced.
func cutPower(nodes []*node, disks map[string]*disk) {
	for _, n := range nodes {
		n.freeze()
	}
	for _, n := range nodes {
		disks[n.name].cut()
	}
	for _, n := range nodes {
		n.kill()
		disks[n.name].remount()
	}
}
