//go:build unix

package daemon

import "syscall"

// connectionsFor returns how many connections to serve at once, at most most, given the limit on open
// files. Some files are reserved for the log and for reads: otherwise a connection could be accepted but
// nothing read for it.
func connectionsFor(most int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return most
	}
	files := int(limit.Cur)
	return max(1, min(most, files-max(files/8, 32)))
}
