//go:build unix

package cli

import "syscall"

// connectionsFor is how many connections to serve at once, at most most, where the
// process may have so many files open. Some are kept from connections, for the log's
// own files and for those that reads open: with none left a connection could be
// taken, but nothing be read for it.
func connectionsFor(most int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return most
	}
	files := int(limit.Cur)
	return max(1, min(most, files-max(files/8, 32)))
}
