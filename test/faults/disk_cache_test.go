package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLyingCache runs the server on a file system whose device is full: a sync fails,
// and from then on the page cache shows bytes that the disk does not have. Only the
// disk counts: the last check of each test comes after a remount.
func TestLyingCache(t *testing.T) {
	needTmpfs(t)
	needLoop(t)
	needTool(t, "truncate", "fallocate", "fstrim", "dd")
	// Entries of about 1 KiB soon need blocks that the device does not have. No zeros
	// are written ahead of a batch of 64 KiB.
	large := func(n int) int { return 1000 + n%200 }
	larger := func(int) int { return 66_000 }
	for _, tt := range []struct {
		name string
		pad  func(n int) int
		run  func(t *testing.T, d *thinDisk, h *history)
	}{
		{"segment", larger, func(t *testing.T, d *thinDisk, h *history) { lyingSegment(t, d, h, false) }},
		{"segment-zeros", large, func(t *testing.T, d *thinDisk, h *history) { lyingSegment(t, d, h, true) }},
		{"blobs", large, func(t *testing.T, d *thinDisk, h *history) { lyingBlobs(t, d, h, false) }},
		{"blobs-then-killed", large, func(t *testing.T, d *thinDisk, h *history) { lyingBlobs(t, d, h, true) }},
		{"index", large, lyingIndex},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newThinDisk(t), newHistory(tt.pad)) })
	}
}

// lyingSegment: the next start cuts off the batch that is only in the cache, although
// it looks whole. If the zeros ahead of the batches do not fit, a sync fails too, but
// the disk has every batch.
func lyingSegment(t *testing.T, d *thinDisk, h *history, zeros bool) {
	data, wal, blobs := filepath.Join(d.dir, "data"), newData(t), newData(t)
	env := []string{"WAL=" + wal, "BLOBS=" + blobs}
	p := server(t, options{Data: data, Env: env})
	accepted(t, p.addr, h, 50)
	d.fill()
	depth := 16
	if zeros {
		depth = 8 // no batch is so large that no zeros are written for the next
	}
	writers := h.start(t, p.addr, load{Writers: 4, Depth: depth})
	eventually(t, "a sync fails", func() bool { return h.failures() > 0 })
	writers.halt()
	acked, _, unknown := h.counts()
	if head := verify(t, p.addr, h); head != uint64(acked) || unknown == 0 {
		t.Errorf("%d entries are served, %d were acknowledged, %d have an unknown outcome", head, acked, unknown)
	}
	failed(t, p, "sync failed: ")
	file := segmentFiles(t, data)[0]
	if zeros {
		d.hasAllButZeros(file)
	} else {
		d.mustDiffer(file)
	}
	d.free()
	for range 2 {
		p = server(t, options{Data: data, Env: env})
		switch head := verify(t, p.addr, h); {
		case head < uint64(acked):
			t.Errorf("the log has %d entries, %d were acknowledged", head, acked)
		case !zeros && head >= uint64(acked+unknown):
			t.Errorf("the log has %d entries, and the disk lost some of %d", head, acked+unknown)
		case zeros && head == uint64(acked):
			t.Errorf("the log has %d entries: the batch that the disk has is missing", head)
		}
		p.clean()
		d.remount()
	}
	fsck(t, data, "--wal", wal, "--blobs", blobs)
}

// lyingBlobs: the sync of blobs fails, and would succeed if it were repeated. The
// server writes the blobs again anyway.
func lyingBlobs(t *testing.T, d *thinDisk, h *history, kill bool) {
	data, blobs := newData(t), filepath.Join(d.dir, "blobs")
	env := []string{"BLOBS=" + blobs, "LOG_LEVEL=debug", "FAULT_SETTLE_EVERY=10ms"}
	// A directory block that cannot be written aborts the journal, and so all writes.
	// Here only the blobs' own bytes do not fit.
	for shard := range 256 {
		if err := os.MkdirAll(filepath.Join(blobs, fmt.Sprintf("%02x", shard)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p := server(t, options{Data: data, Env: env})
	accepted(t, p.addr, h, 20)
	settledAll(t, p, 20)
	d.fill()
	accepted(t, p.addr, h, 200)
	p.await("settle")
	d.mustDiffer(files(t, d.dir, "blobs", "??/*")...)
	if kill {
		p.kill9()
	}
	d.free()
	if kill {
		p = server(t, options{Data: data, Env: env})
	}
	settledAll(t, p, 220)
	verify(t, p.addr, h)
	p.clean()
	d.remount()
	fsckSettled(t, data, 220, "--blobs", blobs)
}

// lyingIndex: the sync of index records fails, and the server rewrites the records that
// the disk does not have.
func lyingIndex(t *testing.T, d *thinDisk, h *history) {
	data, wal := newData(t), filepath.Join(d.dir, "wal")
	env := []string{"WAL=" + wal, "LOG_LEVEL=debug", "LOOSE_MAX=0", "FAULT_SETTLE_EVERY=10ms"}
	p := server(t, options{Data: data, Env: env})
	accepted(t, p.addr, h, 20)
	settledAll(t, p, 20)
	d.fill()
	h.write(t, p.addr, load{Depth: 100, Entries: 3000})
	p.await("settle")
	d.free()
	settledAll(t, p, 3020)
	verify(t, p.addr, h)
	p.clean()
	d.remount()
	if found := fsck(t, data, "--wal", wal); found["entries"] != 3020.0 || found["indexed"] != 3020.0 {
		t.Errorf("fsck finds %v, want 3020 entries and records", found)
	}
}

// thinDisk is an ext4 file system on a loop device over a sparse file in a tmpfs. Once
// the tmpfs is full, writes to the device fail. The journal and other metadata have
// their blocks already, so the file system continues.
type thinDisk struct {
	t              testing.TB
	dir            string // where the file system is mounted
	backing, image string
	loop           string
}

func newThinDisk(t testing.TB) *thinDisk {
	t.Helper()
	d := &thinDisk{t: t, dir: t.TempDir(), backing: t.TempDir()}
	d.image = filepath.Join(d.backing, "image")
	run(t, "mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", d.backing)
	t.Cleanup(func() { run(t, "umount", "-l", d.backing) })
	run(t, "truncate", "--size=40M", d.image)
	run(t, "mkfs.ext4", "-q", "-b", "4096", "-N", "2048", "-J", "size=4", "-E", "nodiscard,lazy_itable_init=0", d.image)
	run(t, "fallocate", "--length=40M", d.image)
	d.loop = strings.TrimSpace(run(t, "losetup", "--find", "--show", d.image))
	t.Cleanup(func() { run(t, "losetup", "--detach", d.loop) })
	// The loop driver reports a short write as a complete one. Writes of one page are
	// never short.
	if err := os.WriteFile(filepath.Join("/sys/block", filepath.Base(d.loop), "queue/max_sectors_kb"), []byte("4"), 0); err != nil {
		t.Skipf("needs to limit the requests to a loop device: %v", err)
	}
	run(t, "mount", "-o", "noatime", d.loop, d.dir)
	t.Cleanup(func() { run(t, "umount", d.dir) })
	run(t, "fstrim", d.dir) // free blocks become holes
	return d
}

// fill uses up all free space of the device.
func (d *thinDisk) fill() {
	d.t.Helper()
	run(d.t, "sync", "--file-system", d.dir)
	fill(d.t, d.backing)
}

// free frees it again.
func (d *thinDisk) free() { makeRoom(d.t, d.backing) }

// remount makes the kernel forget everything that is not on the disk.
func (d *thinDisk) remount() {
	d.t.Helper()
	run(d.t, "umount", d.dir)
	run(d.t, "mount", "-o", "noatime", d.loop, d.dir)
}

// mustDiffer checks that the test is effective: at least one of the files differs
// between the disk and the page cache.
func (d *thinDisk) mustDiffer(paths ...string) {
	d.t.Helper()
	for _, path := range paths {
		cached, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		// Read the device itself, not the file system.
		if !bytes.Equal(cached, d.onDisk(path)) {
			return
		}
	}
	d.t.Skip("after a failed sync the page cache of this kernel shows what the disk has")
}

// hasAllButZeros checks that the file ends in zeros, and that the disk has
// everything before them.
func (d *thinDisk) hasAllButZeros(path string) {
	d.t.Helper()
	cached, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	written := bytes.TrimRight(cached, "\x00")
	if len(written) == len(cached) || !bytes.HasPrefix(d.onDisk(path), written) {
		d.t.Errorf("%s: of %d bytes %d are zeros in the end, and the disk has other bytes before them", path, len(cached), len(cached)-len(written))
	}
}

// onDisk reads a file without the page cache.
func (d *thinDisk) onDisk(path string) []byte {
	d.t.Helper()
	cmd := exec.Command("dd", "if="+path, "iflag=direct", "bs=4096", "status=none")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return []byte(fmt.Sprintf("unreadable: %v: %s", err, said.String()))
	}
	return out.Bytes()
}

// fill fills the file system of dir to its last byte.
func fill(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for b := make([]byte, size); err == nil; {
			_, err = f.Write(b)
		}
		err = nil
	}
}

// makeRoom undoes fill.
func makeRoom(t testing.TB, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
}
