//go:build !unix

package fsck

import "io/fs"

// inode has no portable form: files are read in the order of their names.
func inode(fs.FileInfo) uint64 { return 0 }
