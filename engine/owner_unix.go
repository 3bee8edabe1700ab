//go:build unix

package engine

import (
	"io/fs"
	"syscall"
)

// ownerKnown: files have an owner, and a mode that says what others may do.
const ownerKnown = true

// owner returns the user id of the file's owner.
func owner(fi fs.FileInfo) (uid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
