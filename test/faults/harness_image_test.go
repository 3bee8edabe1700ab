package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"
)

// image is an ext4 file system in a file, on a loop device.
type image struct {
	t    testing.TB
	file string
	dir  string // where it is mounted
	mode string // mount options
	on   bool
}

// newImage makes a file system of size megabytes and mounts it with the options.
func newImage(t testing.TB, megabytes int64, mode string) *image {
	t.Helper()
	needLoop(t)
	base, err := os.MkdirTemp("", "faults-image")
	if err != nil {
		t.Fatal(err)
	}
	m := &image{t: t, file: filepath.Join(base, "image"), dir: filepath.Join(base, "mnt"), mode: mode}
	t.Cleanup(func() {
		m.unmount()
		os.RemoveAll(base)
	})
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(m.file, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", m.file)
	if out, err := exec.Command("mount", "-o", "loop,"+mode, m.file, m.dir).CombinedOutput(); err != nil {
		t.Skipf("needs to mount an image on a loop device: %s", out)
	}
	m.on = true
	return m
}

// mount mounts it again.
func (m *image) mount() {
	m.t.Helper()
	run(m.t, "mount", "-o", "loop,"+m.mode, m.file, m.dir)
	m.on = true
}

// unmount unmounts it, if it is mounted. Processes that use it must have ended.
func (m *image) unmount() {
	m.t.Helper()
	if m.on {
		run(m.t, "umount", m.dir)
		m.on = false
	}
}

// cut simulates a power cut: from now on neither data nor the journal reaches the
// disk. The next mount shows what is on the disk.
func (m *image) cut() {
	m.t.Helper()
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	d, err := os.Open(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	defer d.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		m.t.Skipf("needs ext4 that can be shut down: %v", errno)
	}
}
