package engine

import "syscall"

// measure returns the space of the file system that the directory is on, nil if it cannot
// be determined.
func measure(dir string) *space {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return nil
	}
	unit := int64(fs.Frsize)
	if unit == 0 {
		unit = int64(fs.Bsize)
	}
	return &space{used: int64(fs.Blocks-fs.Bfree) * unit, free: int64(fs.Bavail) * unit}
}
